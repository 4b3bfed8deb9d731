"""What the pages of rollouts show: figures, tables, the form of a plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from inhouse.core.errors import Invalid
from inhouse.dashboard import rollouts_words as say
from inhouse.dashboard.charts import span
from inhouse.dashboard.figures import NOT_MEASURED, number, percent, plural
from inhouse.dashboard.rollouts_checks import question
from inhouse.evaluation.report import wilson
from inhouse.rollout.guardrails import Reading, ShadowReading
from inhouse.rollout.history import Arm
from inhouse.rollout.plan import Plan, RolloutState
from inhouse.rollout.reconcile import ACTOR
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.settings import RolloutSettings

RUNNING: Final = (RolloutState.SHADOWING, RolloutState.RAMPING, RolloutState.BAKING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A figure with what it is compared with."""

    name: str
    figure: str
    unit: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailRow:
    """A guardrail: its evidence of harm, what it comes from, and how it looks."""

    name: str
    harm: str
    note: str
    badge: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitRow:
    """An absolute limit: what was asked, what is there, the evidence that it is kept."""

    name: str
    now: str
    calls: int
    certified: str
    badge: tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRow:
    """An arm with its share, its rate of good calls, and where that stands on the axis."""

    arm: Arm
    look: str
    share: str
    success: str
    place: tuple[float, float, float] | None
    cost: float | None


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the plan's form; ``unit`` is "" for text."""

    name: str
    label: str
    hint: str
    is_whole: bool = False


FIELDS: Final = (
    Field("steps", "Steps, per cent", "rising, the last is 100"),
    Field("margin", "Margin", "how much worse may count as not worse, share of calls"),
    Field("first_calls", "Calls before the first step", "of the candidate", is_whole=True),
    Field("step_calls", "Calls before later steps", "of the candidate", is_whole=True),
    Field("dwell_s", "Dwell, seconds", "least time at a step"),
    Field("shadow_inputs", "Shadow, inputs", "copies answered first; 0: none", is_whole=True),
    Field("min_success", "Least success", "share of calls; 0: no limit"),
    Field("max_p95_s", "Longest p95, seconds", "0: no limit"),
    Field("min_score", "Least score", "mean of labelled answers; 0: no limit"),
    Field("horizon", "Horizon, outcomes", "without a verdict by then it is held", is_whole=True),
    Field("bake_s", "Bake, seconds", "how long some calls stay with the incumbent"),
    Field("hold_back", "Held back, per cent", "those calls"),
)


def plan_fields(declared: RolloutSettings, sent: Mapping[str, str]) -> list[tuple[Field, str]]:
    """The fields that the settings know, each with what was sent or is declared."""
    return [
        (one, sent.get(f"plan.{one.name}", _written(getattr(declared, one.name))))
        for one in FIELDS
        if one.name in type(declared).model_fields
    ]


def plan_changes(declared: RolloutSettings, sent: Mapping[str, str]) -> dict[str, Any]:
    """What a form says otherwise than the settings. Raises Invalid (``rollout-plan``) for what is
    no number."""
    found: dict[str, Any] = {}
    for one, text in plan_fields(declared, sent):
        now = getattr(declared, one.name)
        if text.strip() and text.strip() != _written(now):
            found[one.name] = _read(one, text)
    return found


def tiles(rollout: RolloutRecord, reading: Reading | None, now: datetime) -> list[Tile]:
    """The four figures at the top."""
    horizon = number(rollout.plan.horizon)
    counted, of_candidate = (0, 0) if reading is None else (reading.outcomes, reading.candidate)
    return [
        _certified(rollout, 1.0 if reading is None else reading.certified),
        Tile(
            name="Evidence of harm",
            figure=NOT_MEASURED if reading is None else say.evidence(reading.harm),
            note=f"rolls back at {number(1.0 / rollout.plan.false_rollback)}",
        ),
        Tile(
            name="Outcomes counted",
            figure=number(counted),
            unit=f"{number(of_candidate)} candidate",
            note="since the bake period began"
            if say.is_baked(rollout)
            else f"held at {horizon} without a verdict",
        ),
        _pace(rollout, now),
    ]


def shadow_tiles(rollout: RolloutRecord, found: ShadowReading, now: datetime) -> list[Tile]:
    """The four figures while a shadow answers copies of calls."""
    plan = rollout.plan
    return [
        Tile(
            name="Evidence: not worse",
            figure=say.evidence(found.certificate),
            note=f"calls follow at {number(1.0 / plan.false_promotion)}; "
            f"margin {number(plan.margin, 3)}",
        ),
        Tile(
            name="Evidence of harm",
            figure=say.evidence(found.harm),
            note=f"ends it at {number(1.0 / plan.false_rollback)}",
        ),
        Tile(
            name="Inputs, both answered",
            figure=number(found.inputs),
            unit=f"{number(found.labels)} labelled",
            note=f"held at {number(plan.shadow_inputs)} without a verdict",
        ),
        _pace(rollout, now),
    ]


def _certified(rollout: RolloutRecord, certified: float) -> Tile:
    """What was certified of the ramp stands when the bake period begins with new evidence."""
    plan = rollout.plan
    margin, needed = number(plan.margin, 3), number(plan.margin_after(rollout.step), 3)
    note = f"next step needs {needed}; margin {margin}"
    if say.is_baked(rollout):
        certified, note = plan.margin, "before the bake period; the margin of the plan"
    elif rollout.is_over:
        note = f"margin {margin}"
    if certified >= 1.0:
        return Tile(name="Certified loss", figure=NOT_MEASURED, note=f"nothing yet; {note}")
    return Tile(name="Certified loss", figure=f"≤ {number(certified, 3)}", note=note)


def _pace(rollout: RolloutRecord, now: datetime) -> Tile:
    whole = say.since(rollout, now)
    if rollout.is_over:
        return Tile(name="It took", figure=whole, note="from the start to the end")
    at_step = say.age((now - rollout.step_at).total_seconds())
    return Tile(name="At this step", figure=at_step, note=f"the rollout began {whole} ago")


def guardrail_rows(reading: Reading | None, plan: Plan) -> list[GuardrailRow]:
    """The guardrails, those that act first."""
    limit = 1.0 / plan.false_rollback
    rows = []
    for one in sorted(reading.guardrails if reading else (), key=lambda part: not part.acts):
        badge = ("good", "Calm") if one.fresh < one.usual else ("warn", "Watch")
        if not one.outcomes:
            badge = ("waiting", "Waits")
        elif one.harm >= limit:
            badge = ("failed", "Harm")
        if not one.acts:
            badge = ("observe", "Watched")
        rows.append(
            GuardrailRow(
                name=say.METRICS[one.metric],
                harm=say.evidence(one.harm),
                note=f"{plural(one.outcomes, 'outcome')}, fresh {say.evidence(one.fresh)} of "
                f"{say.evidence(one.usual)}"
                if one.outcomes
                else "none counted yet",
                badge=badge,
            )
        )
    return rows


def limit_rows(reading: Reading | None, plan: Plan) -> list[LimitRow]:
    """The absolute limits of the plan."""
    rows = []
    for one in reading.thresholds if reading else ():
        kept = one.outcomes > 0 and one.estimate <= one.limit
        badge = ("good", "Kept") if kept else ("warn", "Not kept")
        rows.append(
            LimitRow(
                name=question(plan, plan.margin, one.name),
                now=say.limit(one.name, one.estimate) if one.outcomes else NOT_MEASURED,
                calls=one.outcomes,
                certified=say.evidence(one.evidence),
                badge=badge if one.outcomes else ("waiting", "Waits"),
            )
        )
    return rows


def arm_rows(
    rollout: RolloutRecord, found: Sequence[Arm], weight_bp: int, costs: Mapping[str, float]
) -> tuple[list[ArmRow], tuple[float, float]]:
    """The candidate and the incumbent, and the ends of the axis of success."""
    rates = [(arm, wilson(arm.calls - arm.bad, arm.calls)) for arm in reversed(found)]
    lows = [low for arm, (low, _) in rates if arm.calls]
    bounds = (max(0.0, int(min(lows, default=0.0) * 10) / 10), 1.0)
    rows = []
    for arm, (low, high) in rates:
        is_candidate = arm.arm == "candidate"
        rate = (arm.calls - arm.bad) / arm.calls if arm.calls else None
        said = f"{percent(rate)} ({number(low * 100, 1)} to {number(high * 100, 1)})"
        share = weight_bp if is_candidate else 10_000 - weight_bp
        rows.append(
            ArmRow(
                arm=arm,
                look="own" if is_candidate else "general",
                share=say.weight(share),
                success=said if arm.calls else NOT_MEASURED,
                place=span(rate, low, high, bounds) if arm.calls else None,
                cost=costs.get(arm.reference),
            )
        )
    return rows, bounds


def log(decisions: Sequence[DecisionRecord]) -> list[dict[str, Any]]:
    """The decisions, newest first, with their words."""
    rows = []
    for one in reversed(decisions):
        words, numbers = say.told(one, ACTOR)
        rows.append(
            {
                "at": one.created_at,
                "badge": say.KINDS.get(one.kind, ("", one.kind)),
                "words": words,
                "numbers": numbers,
                "actor": "by evidence" if one.actor == ACTOR else one.actor,
                "revision": one.route_revision,
            }
        )
    return rows


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_written, value))
    return f"{value:.12g}" if isinstance(value, int | float) else str(value)


def _read(one: Field, text: str) -> Any:
    try:
        if one.name == "steps":
            return tuple(float(part) for part in text.replace("%", "").split(","))
        return int(text) if one.is_whole else float(text.replace(",", "."))
    except ValueError:
        raise Invalid(
            f"{one.label}: {text[:40]!r} is no number", code="rollout-plan", hint=one.hint
        ) from None
