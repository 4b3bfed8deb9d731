"""The named worlds of ``inhouse rollout simulate``, each with a plan and what must come out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from random import Random
from typing import Final

from inhouse.rollout import truths
from inhouse.rollout.bars import Bar, Run, Verdict
from inhouse.rollout.plan import FULL_BP, Metric, Plan
from inhouse.rollout.truths import Call

_NEVER: Final = 10**9

PLAN: Final = Plan(
    dwell_s=0.0, min_success=None, max_p95_s=None, guardrails=(Metric.SUCCESS,), bake_s=0.0
)
"""The default steps and margin, one guardrail, no absolute thresholds. Time stands still."""
FULL_SET: Final = replace(PLAN, guardrails=Plan().guardrails)
SHADOW: Final = replace(PLAN, shadow_inputs=20_000)
JUDGED: Final = replace(SHADOW, guardrails=(Metric.CORRECT,), promote_on=(Metric.CORRECT,))
SPLIT: Final = replace(PLAN, steps_bp=(5000, FULL_BP), first_outcomes=_NEVER)
"""The weight stays at 50 %."""
LATENCY: Final = replace(
    PLAN,
    steps_bp=(1000, FULL_BP),
    first_outcomes=_NEVER,
    guardrails=(Metric.P95,),
    promote_on=(Metric.P95,),
)
"""The weight stays at 10 %."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """``by_user``: one outcome per user. ``rivals``: the other rules run on the same streams.
    ``late``: the fewest and most requests between a call and its label; None: it comes at once."""

    name: str
    truth: str
    calls: Callable[[Random], Iterator[Call]]
    bars: tuple[Bar, ...]
    plan: Plan = PLAN
    by_user: bool = False
    rivals: bool = False
    late: tuple[int, int] | None = None


def _is_rolled_back(run: Run) -> bool:
    return run.verdict is Verdict.ROLLED_BACK


def _is_promoted(run: Run) -> bool:
    return run.verdict is Verdict.PROMOTED


def _false_rollback() -> Bar:
    return Bar("false rollback <= 5 %", _is_rolled_back, 0.05, false=True)


def _false_promotion(most: float) -> Bar:
    return Bar(f"false promotion <= {most * 100:g} %", _is_promoted, most, false=True)


def _by(verdict: Verdict, requests: int, share: float, what: str) -> Bar:
    def missed(run: Run) -> bool:
        return run.verdict is not verdict or run.requests > requests

    return Bar(what, missed, share)


def _equal(rate: str, failing: float) -> Scenario:
    return Scenario(
        name=f"equal{rate}",
        truth=f"equal, {rate}",
        calls=truths.independent(truths.steady(failing), truths.steady(failing)),
        bars=(
            _false_rollback(),
            Bar("promoted >= 95 %", lambda run: not _is_promoted(run), 0.05),
            _by(Verdict.PROMOTED, 2000, 0.5, "promoted, median <= 2,000 requests"),
        ),
        rivals=True,
    )


def _worse(name: str, truth: str, failing: float, most: float) -> Scenario:
    return Scenario(
        name=name,
        truth=truth,
        calls=truths.independent(truths.steady(0.1), truths.steady(failing)),
        bars=(_false_promotion(most),),
        rivals=True,
    )


_FEW_ANSWERS: Final = Bar(
    "candidate answers, median <= 10",
    lambda run: not _is_rolled_back(run) or run.candidate > 10,
    0.5,
)

SCENARIOS: Final = (
    _equal(".90", 0.10),
    _equal(".98", 0.02),
    _equal("1.00", 0.0),
    _worse("margin", "worse by the margin, .90 -> .85", 0.15, 0.05),
    _worse("eight-points", "worse by 8 points, .90 -> .82", 0.18, 0.01),
    Scenario(
        name="collapse",
        truth=".90 -> .30, one guardrail",
        calls=truths.independent(truths.steady(0.1), truths.steady(0.7)),
        bars=(
            _by(Verdict.ROLLED_BACK, 60, 0.5, "rolled back, median <= 60 requests"),
            _by(Verdict.ROLLED_BACK, 150, 0.1, "rolled back, p90 <= 150 requests"),
            _FEW_ANSWERS,
        ),
        rivals=True,
    ),
    Scenario(
        name="collapse-default-set",
        truth=".90 -> .30, the default guardrails averaged",
        calls=truths.measured(0.1, 0.7, labelled=0.1, wrong=0.1),
        plan=FULL_SET,
        bars=(
            _by(Verdict.ROLLED_BACK, 85, 0.5, "rolled back, median <= 85 requests"),
            _by(Verdict.ROLLED_BACK, 170, 0.1, "rolled back, p90 <= 170 requests"),
            _FEW_ANSWERS,
        ),
    ),
    Scenario(
        name="break",
        truth=".90, breaks to .30 after 800 requests",
        calls=truths.independent(truths.steady(0.1), truths.breaking(0.1, 0.7, 800)),
        bars=(
            _by(Verdict.ROLLED_BACK, 900, 0.5, "caught, median <= 100 requests later"),
            _false_promotion(0.005),
        ),
        rivals=True,
    ),
    Scenario(
        name="difficulty",
        truth="equal, failures x 3 during the ramp (.95 -> .85)",
        calls=truths.independent(*[truths.hardening(0.05, 3.0, 1500)] * 2),
        bars=(_false_rollback(),),
        rivals=True,
    ),
    Scenario(
        name="sticky-users",
        truth="equal, 30 to 1,000 sticky users, correlation .2",
        calls=truths.sticky((30, 100, 300, 1000), 0.1, 0.2),
        bars=(_false_rollback(),),
        by_user=True,
    ),
    Scenario(
        name="named-units",
        truth="equal, the same users, counted by request",
        calls=truths.sticky((30, 100, 300, 1000), 0.1, 0.2),
        bars=(_false_rollback(),),
    ),
    Scenario(
        name="shadow-equal",
        truth="shadow, equal .90, 60 % of failures shared",
        calls=truths.sharing(0.06, 0.04, 0.04),
        plan=SHADOW,
        bars=(
            _by(Verdict.PROMOTED, 300, 0.5, "certified, median <= 300 inputs"),
            _false_rollback(),
        ),
    ),
    Scenario(
        name="shadow-worse",
        truth="shadow, .90 -> .85",
        calls=truths.sharing(0.06, 0.04, 0.09),
        plan=SHADOW,
        bars=(
            _by(Verdict.ROLLED_BACK, 400, 0.5, "found, median <= 400 inputs"),
            _false_promotion(0.05),
        ),
    ),
    Scenario(
        name="shadow-judged-equal",
        truth="shadow, all answered, equally often right (.90)",
        calls=truths.judged(truths.sharing(0.06, 0.04, 0.04)),
        plan=JUDGED,
        bars=(
            _by(Verdict.PROMOTED, 300, 0.5, "certified, median <= 300 labels"),
            _false_rollback(),
        ),
    ),
    Scenario(
        name="shadow-judged-worse",
        truth="shadow, all answered, right .90 -> .85",
        calls=truths.judged(truths.sharing(0.06, 0.04, 0.09)),
        plan=JUDGED,
        bars=(
            _by(Verdict.ROLLED_BACK, 400, 0.5, "found, median <= 400 labels"),
            _false_promotion(0.05),
        ),
    ),
    Scenario(
        name="split",
        truth="split 45/55 instead of 50/50",
        calls=truths.misrouted(0.1),
        plan=SPLIT,
        bars=(
            Bar(
                "found, median <= 1,200 requests",
                lambda run: run.because != "mismatch" or run.requests > 1200,
                0.5,
            ),
        ),
    ),
    Scenario(
        name="split-right",
        truth="split 50/50",
        calls=truths.misrouted(0.0),
        plan=SPLIT,
        bars=(Bar("false alarm <= 1 %", lambda run: run.because == "mismatch", 0.01, false=True),),
    ),
    Scenario(
        name="slow",
        truth="twice as slow, at 10 %",
        calls=truths.measured(0.0, 0.0, labelled=0.0, wrong=0.0, slower=2.0),
        plan=LATENCY,
        bars=(_by(Verdict.ROLLED_BACK, 350, 0.5, "found, median <= 350 requests"),),
    ),
    Scenario(
        name="as-fast",
        truth="equally fast, at 10 %",
        calls=truths.measured(0.0, 0.0, labelled=0.0, wrong=0.0),
        plan=LATENCY,
        bars=(_false_rollback(),),
    ),
    Scenario(
        name="thresholds",
        truth="equal .93, success must be above .95",
        calls=truths.measured(0.07, 0.07, labelled=0.1, wrong=0.1),
        plan=replace(FULL_SET, min_success=0.95, max_p95_s=3.0),
        bars=(Bar("never promoted", _is_promoted, 0.0, false=True),),
    ),
)
