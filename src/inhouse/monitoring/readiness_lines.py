"""The lines of the report that says whether an own model can take a task over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final, Protocol

from sqlalchemy import func, select

from inhouse.datasets.tables import ImportedExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.gate import VerdictKind
from inhouse.evaluation.records import EvaluationRecord
from inhouse.feedback.submit import TARGETS
from inhouse.feedback.tables import Feedback
from inhouse.gateway.breaker import BreakerState
from inhouse.interactions.tables import Interaction
from inhouse.monitoring import drift_records
from inhouse.monitoring.figures import ModelFigures, TaskFigures
from inhouse.registry.routes import FULL
from inhouse.rollout.plan import Plan
from inhouse.tasks.spec import TaskSpec

LEAST_TRUTHS: Final = 100
"""Calls with a known truth, or imported examples, from which training makes sense."""
LEAST_CALLS: Final = 20
"""Calls of a model before its success and latency are told from them."""
_COUNTED_TRUTHS: Final = 5000
_DAY_S: Final = 86_400
_interaction = table_of(Interaction)
_feedback = table_of(Feedback)
_imported = table_of(ImportedExample)


class State(StrEnum):
    """How a line stands, and the whole: ok when every line is, not yet when one is not."""

    OK = "ok"
    NOT_YET = "not yet"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One thing that must hold. ``value`` and ``bar`` in their own unit, None where there is none;
    ``words`` say both; ``next`` is what to do, "" when it is ok."""

    name: str
    state: State
    value: float | None
    bar: float | None
    words: str
    next: str


@dataclass(frozen=True, slots=True)
class About:
    """Everything that is known of the version in question; ``mine`` are its own figures."""

    spec: TaskSpec
    plan: Plan
    reference: str
    figures: TaskFigures
    mine: ModelFigures | None
    evaluation: EvaluationRecord | None


class Circuit(Protocol):
    """A circuit breaker: ``state`` is a BreakerState's value, ``failures`` are those in a row."""

    @property
    def reference(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def failures(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Unseen:
    """Why nobody knows the circuit breakers, and what to do to know them."""

    words: str
    next: str


NO_SERVER: Final = Unseen(
    "no server answers, so nobody knows", "inhouse serve, or --url of the one that runs"
)
"""Circuit breakers are in the memory of a server; without one there is none."""


def no_version(spec: TaskSpec) -> Line:
    """Where there is no own version."""
    return Line(
        name="own model",
        state=State.NOT_YET,
        value=None,
        bar=None,
        words="none was trained yet, or each was rejected",
        next=f"inhouse dataset build {spec.name}, then inhouse train start {spec.name}",
    )


def volume(found: TaskFigures, plan: Plan) -> Line:
    """Enough calls for a ramp to end before its time limit."""
    days = max((found.until - found.since) / timedelta(days=1), 1.0)
    per_day = found.total.calls / days
    steps = range(len(plan.steps_bp))
    needed = sum(plan.outcomes_at(step) * FULL / plan.steps_bp[step] for step in steps)
    bar = needed * _DAY_S / plan.time_limit_s
    enough = per_day >= bar
    return Line(
        name="volume",
        state=State.OK if enough else State.NOT_YET,
        value=per_day,
        bar=bar,
        words=f"{per_day:,.0f} calls a day; a ramp of {needed:,.0f} calls needs {bar:,.0f}",
        next="" if enough else "send more calls, or declare fewer first_calls and step_calls",
    )


def truths(unit: ReadUnit, spec: TaskSpec) -> Line:
    """Something to learn from, and to be judged by."""
    said = (
        select(_feedback.c.interaction_id)
        .where(_feedback.c.kind.in_([kind.value for kind in TARGETS]))
        .order_by(_feedback.c.created_at.desc())
        .limit(_COUNTED_TRUTHS)
        .subquery()
    )
    calls = unit.execute(
        select(func.count(_interaction.c.id.distinct()))
        .join(said, said.c.interaction_id == _interaction.c.id)
        .where(_interaction.c.task == spec.name)
    ).scalar_one()
    imported = unit.execute(
        select(func.count())
        .select_from(_imported)
        .where(_imported.c.task == spec.name, _imported.c.task_revision == spec.revision)
    ).scalar_one()
    enough = calls + imported >= LEAST_TRUTHS
    return Line(
        name="labels",
        state=State.OK if enough else State.NOT_YET,
        value=calls + imported,
        bar=LEAST_TRUTHS,
        words=f"{calls:,} {'call' if calls == 1 else 'calls'} corrected or with an outcome, "
        f"{imported:,} imported {'example' if imported == 1 else 'examples'}; "
        f"at least {LEAST_TRUTHS} in all",
        next="" if enough else "correct answers (inhouse feedback add), or import examples",
    )


def success(about: About) -> Line:
    """Answered in time and valid, more often than the plan's ``min_success``."""
    bar = about.plan.min_success
    value, of = None, ""
    success = about.mine.success if about.mine else None
    if success is not None and success.calls >= LEAST_CALLS:
        value, of = success.share, f"of {success.calls:,} calls"
    elif about.evaluation is not None:
        own = _result(about.evaluation, about.reference)
        if own is not None and own["n"]:
            value, of = 1 - own["failures"] / own["n"], f"of {own['n']:,} test examples"
    ok = value is not None and (bar is None or value > bar)
    words = (
        "not measured" if value is None else f"{100 * value:.1f} % {of} answered in time and valid"
    )
    return Line(
        name="success",
        state=_state(value, ok),
        value=value,
        bar=bar,
        words=words + (f"; over {100 * bar:g} %" if bar else ""),
        next=_measure(about) if value is None else "" if ok else _look_at(about),
    )


def latency(about: About) -> Line:
    """p95 below the plan's ``max_p95_s``."""
    bar = about.plan.max_p95_s
    value, of = None, ""
    mine = about.mine.traffic if about.mine else None
    if mine is not None and mine.calls >= LEAST_CALLS and mine.p95_ms is not None:
        value, of = mine.p95_ms / 1e3, f"in {mine.calls:,} calls, within 12 %"
    elif about.evaluation is not None:
        own = _result(about.evaluation, about.reference)
        if own is not None and own["latency"]:
            value = own["latency"]["p95_ms"]["estimate"] / 1e3
            of = "on the test split, one call at a time"
    ok = value is not None and (bar is None or value < bar)
    words = "not measured" if value is None else f"p95 {_time(value)} {of}"
    return Line(
        name="latency",
        state=_state(value, ok),
        value=value,
        bar=bar,
        words=words + (f"; under {bar:g} s" if bar else ""),
        next=_measure(about) if value is None else "" if ok else "train a smaller model",
    )


def score(about: About) -> Line:
    """Certified not worse than every model that it was compared with, floors left out."""
    met = [] if about.evaluation is None else list(about.evaluation.comparisons or ())
    served = [one for one in met if one["role"] in ("incumbent", "general")]
    if about.evaluation is None or not served:
        return _unknown("score", "never compared with another model", _measure(about))
    bar = -float(about.evaluation.settings.get("gate", {}).get("margin", 0.02))
    worst = min(served, key=lambda one: float(one["difference"]["low"]))
    gap = worst["difference"]
    ok = gap["low"] > bar
    return Line(
        name="score",
        state=State.OK if ok else State.NOT_YET,
        value=gap["low"],
        bar=bar,
        words=f"{_signed(gap['estimate'])} [{_signed(gap['low'])}, {_signed(gap['high'])}] against "
        f"{worst['other']}; the lower end over {_signed(bar)}",
        next=""
        if ok
        else f"correct more answers and train again: inhouse train start {about.spec.name}",
    )


def gate(about: About) -> Line:
    """The verdict of the newest evaluation."""
    evaluation = about.evaluation
    if evaluation is None or evaluation.verdict is None:
        return _unknown("gate", "no evaluation has ended", _measure(about))
    ok = evaluation.verdict == VerdictKind.PASS
    why = "" if ok else f": {'; '.join(evaluation.reasons or ())}"
    return Line(
        name="gate",
        state=State.OK if ok else State.NOT_YET,
        value=None,
        bar=None,
        words=f"{evaluation.verdict}{why}",
        next="" if ok else f"inhouse evaluation show {evaluation.id}",
    )


def drift(unit: ReadUnit, about: About) -> Line:
    """The newest look for drift."""
    look = next(
        (
            one
            for one in drift_records.newest(unit, about.spec.name)
            if one.reference == about.reference
        ),
        None,
    )
    if look is None:
        return _unknown("drift", "nobody looked yet", f"inhouse drift check {about.spec.name}")
    shown = [
        f"{name} {'not compared' if value is None else f'{value:.2f}'}"
        for name, value in (("inputs", look.inputs), ("outputs", look.outputs))
    ]
    words = ", ".join(shown) + f" on {look.created_at:%Y-%m-%d}"
    return Line(
        name="drift",
        state=State.NOT_YET if look.drifted else State.OK,
        value=max(filter(None, (look.inputs, look.outputs)), default=0.0),
        bar=None,
        words="; ".join([words, *look.reasons]),
        next=f"train on newer calls: inhouse dataset build {about.spec.name}"
        if look.drifted
        else "",
    )


def circuit(about: About, breakers: Sequence[Circuit] | Unseen) -> Line:
    """Its circuit breaker, as a running server sees it."""
    if isinstance(breakers, Unseen):
        return _unknown("circuit", breakers.words, breakers.next)
    view = next((one for one in breakers if one.reference == about.reference), None)
    ok = view is None or view.state == BreakerState.CLOSED
    return Line(
        name="circuit",
        state=State.OK if ok else State.NOT_YET,
        value=0.0 if view is None else float(view.failures),
        bar=None,
        words="closed" if view is None else f"{view.state}, {view.failures} failures in a row",
        next="" if ok else f"inhouse breakers list, then inhouse breakers reset {about.reference}",
    )


def _result(evaluation: EvaluationRecord, reference: str) -> Mapping[str, Any] | None:
    found = evaluation.results or ()
    return next((one for one in found if one["reference"] == reference), None)


def _state(value: float | None, ok: bool) -> State:
    if value is None:
        return State.UNKNOWN
    return State.OK if ok else State.NOT_YET


def _measure(about: About) -> str:
    return f"inhouse evaluation run {about.reference}"


def _look_at(about: About) -> str:
    return f"inhouse interactions search --task {about.spec.name} --status failed"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def _unknown(name: str, words: str, to_do: str) -> Line:
    return Line(name=name, state=State.UNKNOWN, value=None, bar=None, words=words, next=to_do)
