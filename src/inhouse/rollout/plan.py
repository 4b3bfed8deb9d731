"""What a rollout wants, and the states that it goes through. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from inhouse.core.errors import Invalid
from inhouse.core.states import Transitions

FULL_BP: Final = 10_000


class RolloutState(StrEnum):
    """State of a rollout. HELD: evidence holds it, PAUSED: a person does."""

    PLANNED = "planned"
    SHADOWING = "shadowing"
    RAMPING = "ramping"
    HELD = "held"
    PAUSED = "paused"
    BAKING = "baking"
    DONE = "done"
    ROLLED_BACK = "rolled_back"
    ABORTED = "aborted"


_ENDS: Final = frozenset({RolloutState.ROLLED_BACK, RolloutState.ABORTED})
_STOPS: Final = frozenset({RolloutState.HELD, RolloutState.PAUSED})
_GOES_ON: Final = frozenset({RolloutState.SHADOWING, RolloutState.RAMPING, RolloutState.BAKING})

ROLLOUTS: Final = Transitions(
    "rollout",
    {
        RolloutState.PLANNED: frozenset(
            {RolloutState.SHADOWING, RolloutState.RAMPING, RolloutState.ABORTED}
        ),
        RolloutState.SHADOWING: _ENDS | _STOPS | {RolloutState.RAMPING},
        RolloutState.RAMPING: _ENDS | _STOPS | {RolloutState.BAKING},
        RolloutState.HELD: _ENDS | _GOES_ON | {RolloutState.PAUSED},
        RolloutState.PAUSED: _ENDS | _GOES_ON | {RolloutState.HELD},
        RolloutState.BAKING: _ENDS | _STOPS | {RolloutState.DONE},
        RolloutState.DONE: frozenset(),
        RolloutState.ROLLED_BACK: frozenset(),
        RolloutState.ABORTED: frozenset(),
    },
)


class Metric(StrEnum):
    """What is compared between the arms.

    SUCCESS: answered, in time, valid. CORRECT: an arm-blind label says right or wrong. ERROR: an
    arm-blind label says how wrong. P95, P99: slower than that quantile of the incumbent.
    """

    SUCCESS = "success"
    CORRECT = "correct"
    ERROR = "error"
    P95 = "p95"
    P99 = "p99"


GUARDRAILS: Final = (Metric.SUCCESS, Metric.CORRECT, Metric.P95, Metric.P99)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan of one rollout. Weights are in basis points, margins in units of Z (0 to 1).

    ``steps_bp``: weights of the candidate, rising, the last one 10,000. ``margin``: how much worse
    may still count as not worse at full weight; at weight w the certificate must hold for
    margin / w, so that the share of calls that are spoiled at every step is at most the margin.
    ``first_outcomes``, ``step_outcomes``: outcomes of the candidate before the first and before
    every later advance; a rollback waits for none. ``dwell_s``: least time at a step. ``horizon``
    (outcomes) and ``time_limit_s``: without a verdict by then it holds. ``false_rollback``,
    ``false_promotion``, ``false_mismatch``: the chances of those mistakes, each at most.
    ``min_success``, ``max_p95_s``, ``min_score``: absolute thresholds, None for none.
    ``guardrails`` roll back; ``observed`` are only shown. ``promote_on``: metrics that must each be
    certified. ``shadow_inputs``: most inputs of the shadow, 0 for no shadow. ``bake_s``: how long
    the incumbent keeps ``hold_back_bp`` of the traffic after the last step. ``audit``: share of the
    calls of the split that are drawn for an audit; ``judge``: the general model that audits them,
    "" for none.

    Raises Invalid (``rollout-plan``) for a plan that cannot be carried out.
    """

    steps_bp: tuple[int, ...] = (1000, 3000, 5000, 6000, 7000, 8000, 9000, FULL_BP)
    margin: float = 0.05
    first_outcomes: int = 100
    step_outcomes: int = 50
    dwell_s: float = 300.0
    horizon: int = 20_000
    time_limit_s: float = 30 * 86_400.0
    false_rollback: float = 0.05
    false_promotion: float = 0.05
    false_mismatch: float = 0.005
    min_success: float | None = 0.95
    max_p95_s: float | None = 3.0
    min_score: float | None = None
    guardrails: tuple[Metric, ...] = GUARDRAILS
    observed: tuple[Metric, ...] = ()
    promote_on: tuple[Metric, ...] = (Metric.SUCCESS,)
    shadow_inputs: int = 0
    bake_s: float = 86_400.0
    hold_back_bp: int = 500
    audit: float = 0.0
    judge: str = ""

    def __post_init__(self) -> None:
        for message in self._faults():
            raise Invalid(message, code="rollout-plan", hint="see [tasks.<name>.rollout]")

    def weight_bp(self, step: int) -> int:
        """The candidate's weight at a step; at the last one the hold-back is left out."""
        full = step == len(self.steps_bp) - 1
        return FULL_BP - self.hold_back_bp if full else self.steps_bp[step]

    def margin_after(self, step: int) -> float:
        """The margin that must be certified before a step may be left."""
        following = min(step + 1, len(self.steps_bp) - 1)
        return min(1.0, self.margin * FULL_BP / self.steps_bp[following])

    @property
    def margins(self) -> tuple[float, ...]:
        """Every margin that the plan will ask for."""
        return tuple(self.margin_after(step) for step in range(len(self.steps_bp)))

    def outcomes_at(self, step: int) -> int:
        """Outcomes of the candidate that a step needs before the next."""
        return self.step_outcomes if step else self.first_outcomes

    def _faults(self) -> list[str]:
        steps = self.steps_bp
        rising = all(a < b for a, b in pairwise(steps))
        chances = (self.false_rollback, self.false_promotion, self.false_mismatch)
        checks: Mapping[str, bool] = {
            "the steps must rise from above 0 to 100 %": bool(steps)
            and rising
            and steps[0] > 0
            and steps[-1] == FULL_BP,
            "shadow_inputs must be at least 0": self.shadow_inputs >= 0,
            "the share that is audited must lie between 0 and 1": 0.0 <= self.audit <= 1.0,
            "a judge needs a share of calls to audit": not self.judge or self.audit > 0.0,
            "the margin must lie above 0 and below 1": 0.0 < self.margin < 1.0,
            "the chances of a mistake must lie between 0 and 1": all(0 < a < 1 for a in chances),
            "the horizon must be at least one outcome": self.horizon >= 1,
            "the hold-back must be at least 0 and below 100 %": 0 <= self.hold_back_bp < FULL_BP,
            "min_success must lie above 0 and below 1": _inside(self.min_success),
            "min_score must lie above 0 and below 1": _inside(self.min_score),
            "max_p95_s must be positive": self.max_p95_s is None or self.max_p95_s > 0,
            "at least one metric must be certified": bool(self.promote_on),
            "at least one guardrail must act": bool(self.guardrails),
            "a guardrail cannot act and only be observed": not set(self.guardrails)
            & set(self.observed),
            "what is certified must be a guardrail that acts": set(self.promote_on)
            <= set(self.guardrails),
        }
        return [message for message, held in checks.items() if not held]


def _inside(value: float | None) -> bool:
    return value is None or 0.0 < value < 1.0
