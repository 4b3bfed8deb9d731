"""What the next step of a rollout needs, as rows of a list. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Final

from inhouse.dashboard.figures import NOT_MEASURED, number, percent
from inhouse.dashboard.rollouts_words import value_of
from inhouse.rollout.decide import Check
from inhouse.rollout.plan import Plan
from inhouse.rollout.records import RolloutRecord

_LIMITS: Final = ("min_success", "max_p95_s", "min_score")
_BARS: Final = ("outcomes", "dwell", "bake", "shadow")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckRow:
    """A condition: what it asks, what is there and what is needed. ``share`` of a bar that fills,
    None for one that has no bar."""

    name: str
    now: str
    needed: str
    met: bool
    share: float | None


def check_rows(rollout: RolloutRecord, checks: Sequence[Check]) -> list[CheckRow]:
    """Conditions of the step that the rollout is at, as a page shows them."""
    plan = rollout.plan
    margin = plan.margin if rollout.is_shadow else plan.margin_after(rollout.step)
    return [_row(plan, margin, one) for one in checks]


def question(plan: Plan, margin: float, name: str) -> str:
    """What a condition asks."""
    limits = {
        "min_success": f"Success at least {percent(plan.min_success, 0)}",
        "max_p95_s": f"95 % of calls within {number(plan.max_p95_s, 1)} s",
        "min_score": f"Mean score at least {number(plan.min_score, 2)}",
    }
    known = {
        "outcomes": "Outcomes of the candidate at this step",
        "dwell": "Time at this step",
        "bake": "Time of the bake period",
        "certificate": f"Not worse by more than {number(margin, 3)}",
        "calm": "Calm: no sign of fresh harm",
        "mismatch": "Calls fall to the arms as the weights say",
        "horizon": "Outcomes without a verdict",
        "time": "Time without a verdict",
        **limits,
        **{f"{limit} certified": f"{words}, certified" for limit, words in limits.items()},
    }
    return known.get(name, name)


def _is_unmeasured(check: Check) -> bool:
    """A limit that is kept by no outcome at all is not met."""
    return check.name in _LIMITS and not check.met and check.value <= check.needed


def _row(plan: Plan, margin: float, check: Check) -> CheckRow:
    unknown = isnan(check.value) or _is_unmeasured(check)
    value = NOT_MEASURED if unknown else value_of(check.name, check.value)
    below = check.name in ("calm", "mismatch", "horizon", "time")
    word = "below" if below else "at least"
    share = None
    if check.name in _BARS and check.needed > 0:
        share = min(1.0, check.value / check.needed)
    return CheckRow(
        name=question(plan, margin, check.name),
        now=value,
        needed=f"{word} {value_of(check.name, check.needed)}",
        met=check.met,
        share=share,
    )
