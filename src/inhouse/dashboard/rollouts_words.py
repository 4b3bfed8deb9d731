"""Rollouts in words: states, decisions, what the next step needs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from math import isnan
from typing import Final

from inhouse.dashboard.axes import raised
from inhouse.dashboard.figures import NOT_MEASURED, duration, number, percent, plural
from inhouse.rollout.decide import Check
from inhouse.rollout.outlook import Outlook
from inhouse.rollout.plan import FULL_BP, Metric, Plan, RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tell import weight_of

BADGES: Final[Mapping[str, tuple[str, str]]] = {
    "planned": ("waiting", "Planned"),
    "shadowing": ("observe", "Shadowing"),
    "ramping": ("live", "Ramping"),
    "held": ("warn", "Held"),
    "paused": ("held", "Paused"),
    "baking": ("live", "Baking"),
    "done": ("good", "Done"),
    "rolled_back": ("back", "Rolled back"),
    "aborted": ("", "Aborted"),
}
"""The badge of each state: its look and its word."""
KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "start": ("good", "Start"),
    "ramp": ("good", "Ramp"),
    "advance": ("good", "Advance"),
    "bake": ("good", "Bake"),
    "finish": ("good", "Finish"),
    "hold": ("warn", "Hold"),
    "roll_back": ("back", "Roll back"),
    "abort": ("failed", "Abort"),
    "pause": ("held", "Pause"),
    "resume": ("waiting", "Resume"),
}
"""The badge of each kind of decision."""
METRICS: Final[Mapping[Metric, str]] = {
    Metric.SUCCESS: "Failed call",
    Metric.CORRECT: "Wrong answer",
    Metric.ERROR: "Size of error",
    Metric.P95: "Slower than p95",
    Metric.P99: "Slower than p99",
}
"""What each guardrail counts."""
_TIMES: Final = ("dwell", "bake", "time")
_MOVES: Final[Mapping[str, str]] = {
    "start": "Started at {share}",
    "ramp": "To {share}",
    "advance": "To {share}",
    "bake": "To {share}",
    "finish": "To {share}",
    "hold": "Held at {share}",
    "roll_back": "Rolled back",
    "abort": "Aborted",
    "pause": "Paused at {share}",
    "resume": "Resumed at {share}",
}
_MET: Final[Mapping[str, str]] = {
    "ramp": "the shadow is certified",
    "advance": "every check was met",
    "bake": "every check was met; the bake period begins",
    "finish": "the bake period ended calmly",
}
BOUND: Final = "\N{NO-BREAK SPACE}"
"""Keeps a number and its unit on one line."""
_REQUEST: Final = "request; one that calls name again counts once"
_SAY_WHY: Final = ("hold", "roll_back", "abort")
_ORDER: Final = ("harm", "mismatch", "certificate", "calm", "outcomes", "dwell", "bake")


def weight(basis_points: int) -> str:
    """50 % or 2.5 %."""
    return f"{basis_points / 100:g} %"


def evidence(value: float | None) -> str:
    """An e-value: 0.41, 12.3, 1,234, 10⁶ and more in powers of ten."""
    if value is None or isnan(value):
        return NOT_MEASURED
    if value >= 1e6:
        return f"over 10{raised(len(str(int(value))) - 1)}"
    if 0.0 < value < 0.001:
        return "under 0.001"
    digits = 0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3
    return number(value, digits)


def title(rollout: RolloutRecord) -> str:
    """How it stands, for the tab."""
    if rollout.is_over:
        return f"{BADGES[rollout.state][1]}: {rollout.candidate}"
    return f"{weight(weight_of(rollout))} {rollout.candidate}"


def heading(rollout: RolloutRecord) -> str:
    """Who takes over from whom."""
    verb = {
        RolloutState.DONE: "took over from",
        RolloutState.ROLLED_BACK: "did not take over from",
        RolloutState.ABORTED: "did not take over from",
    }.get(rollout.state, "takes over from")
    return f"{rollout.candidate} {verb} {rollout.incumbent}"


def sentence(rollout: RolloutRecord, outlook: Outlook | None, last: DecisionRecord) -> str:
    """What happens now, and what comes next."""
    share, why = weight(weight_of(rollout)), _why(last)
    match rollout.state:
        case RolloutState.DONE:
            return f"{rollout.candidate} answers every call of {rollout.task}."
        case RolloutState.ROLLED_BACK | RolloutState.ABORTED:
            return f"{rollout.incumbent} answers again. {why}"
        case RolloutState.PAUSED:
            return f"A person paused it at {share}: no step is taken, harm still rolls back. {why}"
        case RolloutState.HELD:
            return f"Evidence holds it at {share}: a person decides. {why}"
        case _:
            return _going(rollout, outlook, share)


def _going(rollout: RolloutRecord, outlook: Outlook | None, share: str) -> str:
    missing = "" if outlook is None else _missing(outlook.checks)
    if rollout.is_shadow:
        return f"The candidate answers copies of calls, for nobody to see. {missing}".strip()
    if rollout.state is RolloutState.BAKING:
        left = weight(rollout.plan.hold_back_bp)
        return (
            f"{share} of calls go to the candidate, {left} stay for comparison. {missing}".strip()
        )
    following = weight(rollout.plan.weight_bp(min(rollout.step + 1, last_step(rollout.plan))))
    return f"{share} of calls go to the candidate; {following} come next. {missing}".strip()


def last_step(plan: Plan) -> int:
    """The number of the last step."""
    return len(plan.steps_bp) - 1


def is_baked(rollout: RolloutRecord) -> bool:
    """Whether the ramp is behind it."""
    baking = RolloutState.BAKING in (rollout.state, rollout.stopped_from)
    return baking or rollout.state is RolloutState.DONE


def steps(rollout: RolloutRecord) -> list[tuple[str, str]]:
    """The strip of steps: words and class (done, now or "")."""
    plan = rollout.plan
    names = [weight(step) for step in plan.steps_bp]
    at = rollout.step
    if plan.shadow_inputs:
        names.insert(0, "Shadow")
        at = 0 if rollout.is_shadow else at + 1
    names[-1] = f"{weight(plan.weight_bp(last_step(plan)))}, bake"
    names.append(weight(FULL_BP))
    if rollout.state is RolloutState.DONE:
        at = len(names) - 1
    over = rollout.is_over and rollout.state is not RolloutState.DONE
    return [
        (name, "" if over else "done" if place < at else "now" if place == at else "")
        for place, name in enumerate(names)
    ]


def needs(name: str) -> str:
    """A condition in a few words, for a list of what is missing."""
    short = {
        "outcomes": "outcomes of the candidate",
        "dwell": "time at this step",
        "bake": "the end of the bake period",
        "certificate": "evidence that it is not worse",
        "calm": "calm",
        "min_success": "a success above its limit",
        "max_p95_s": "a p95 within its limit",
        "min_score": "a score above its limit",
    }
    limit_name = name.removesuffix(" certified")
    sure = " for sure" if limit_name != name else ""
    return short.get(limit_name, limit_name) + sure


def limit(name: str, bad: float) -> str:
    """A mean of what is bad, turned to what was asked for: a share of good calls, or a score."""
    return number(1.0 - bad, 3) if name == "min_score" else percent(1.0 - bad)


def age(seconds: float) -> str:
    """A duration in whole seconds: 8 s, 3 min 20 s."""
    return duration(seconds) if seconds >= 10 else f"{max(0, round(seconds))} s"


def since(rollout: RolloutRecord, now: datetime) -> str:
    """How long it has run, or ran."""
    return age(((rollout.ended_at or now) - rollout.created_at).total_seconds())


def facts(rollout: RolloutRecord) -> list[tuple[str, str]]:
    """The plan as words and values."""
    plan = rollout.plan
    held = weight(plan.hold_back_bp)
    return [
        ("Unit", "user or document, by its mean" if rollout.by_user else _REQUEST),
        ("Margin", f"{number(plan.margin, 3)} of calls at full weight"),
        (
            "Calls",
            f"{number(plan.first_outcomes)} before the first step, "
            f"{number(plan.step_outcomes)} before each later one",
        ),
        ("Dwell", f"{age(plan.dwell_s)} at least"),
        (
            "Mistakes",
            f"{percent(plan.false_rollback, 0)} false rollback, "
            f"{percent(plan.false_promotion, 0)} false promotion at most",
        ),
        ("Horizon", f"{plural(plan.horizon, 'outcome')} or {age(plan.time_limit_s)}, then held"),
        ("Bake", f"{age(plan.bake_s)}, {held} held back" if plan.bake_s else "none"),
        ("Certified by", _names(plan.promote_on)),
        ("Rolled back by", _names(plan.guardrails)),
        *([("Only watched", _names(plan.observed))] if plan.observed else []),
        *(
            [("Shadow", f"{plural(plan.shadow_inputs, 'input')} at most")]
            if plan.shadow_inputs
            else []
        ),
    ]


def told(decision: DecisionRecord, by_evidence: str) -> tuple[str, str]:
    """A decision as a sentence, and its numbers in small print. ``by_evidence``: who decides when
    nobody does."""
    move, reasons = _MOVES.get(decision.kind, ""), "; ".join(decision.reasons)
    words = move.format(share=weight(decision.weight_bp))
    if decision.actor != by_evidence:
        words = f"{words} by {decision.actor}" + (f": “{reasons}”" if reasons else ".")
    elif decision.kind in _SAY_WHY and reasons:
        words = f"{words}: {reasons}."
    else:
        words = f"{words}: {_MET[decision.kind]}." if decision.kind in _MET else f"{words}."
    found = sorted(decision.evidence.items(), key=lambda one: _place(one[0]))
    numbers = [
        f"{_said(name)} {value_of(name, value)}".replace(" ", BOUND) for name, value in found
    ]
    return words.strip(), " · ".join(numbers)


def _place(name: str) -> int:
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


def _said(name: str) -> str:
    return {
        "outcomes": "calls",
        "dwell": "dwell",
        "certificate": "not worse",
        "calm": "fresh harm",
        "min_success": "success",
        "max_p95_s": "in time",
        "min_score": "score",
        "min_success certified": "success sure",
        "max_p95_s certified": "time sure",
        "min_score certified": "score sure",
    }.get(name, name.replace("_", " "))


def value_of(name: str, value: float) -> str:
    """The number of a check, with its unit."""
    if name in _TIMES:
        return age(value)
    if name in ("outcomes", "horizon", "moved", "unfit", "newer"):
        return number(value)
    if name in ("min_success", "max_p95_s", "min_score"):
        return limit(name, value)
    return evidence(value)


def _missing(checks: Sequence[Check]) -> str:
    missing = [needs(check.name) for check in checks if not check.met]
    if not missing:
        return "Every check is met."
    if len(missing) == 1:
        return f"What is missing: {missing[0]}."
    return f"What is missing: {', '.join(missing[:-1])} and {missing[-1]}."


def _why(last: DecisionRecord) -> str:
    reasons = "; ".join(last.reasons)
    if not reasons:
        return ""
    return f"{reasons[:1].upper()}{reasons[1:]}".rstrip(".") + "."


def _names(metrics: Sequence[Metric]) -> str:
    return ", ".join(METRICS[metric].lower() for metric in metrics)
