"""What each model of a task came to in a window: calls, success, scores, latency, cost, share.

Calls, latencies and cost are read from the counts by hour. Whether a model answered what it was
asked, and what its answers were worth, are read from calls and statements themselves: of the newest
ones only, and the figures say of how many.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import and_, func, not_, or_, select

from inhouse.core.errors import Invalid
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.feedback.submit import TARGETS, FeedbackKind
from inhouse.feedback.tables import Feedback
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.entry import Status
from inhouse.interactions.filters import Span
from inhouse.interactions.tables import Interaction
from inhouse.monitoring import traffic
from inhouse.monitoring.queries import Window
from inhouse.monitoring.traffic import NO_CALLS, Traffic
from inhouse.registry import routes, versions
from inhouse.tasks import outputs
from inhouse.tasks.scoring import item_score, task_score
from inhouse.tasks.spec import TaskSpec

NEWEST_CALLS: Final = 2000
"""Calls of a task of which it is told whether its models answered what they were asked."""
NEWEST_STATEMENTS: Final = 2000
"""Statements of a kind, of all tasks together, that scores are made of at most."""
_interaction = table_of(Interaction)
_feedback = table_of(Feedback)


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """``good`` of ``calls`` that the model was asked first were answered by it: in time, valid, and
    not rescued by a fallback."""

    calls: int
    good: int

    @property
    def share(self) -> float:
        return self.good / self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Mean item score, in [0, 1], of ``items`` calls whose truth is known."""

    items: int
    mean: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """One reference. ``share`` in [0, 1]: of the task's answered calls.

    ``outcomes``: score by late truths, given by somebody who did not know the model: the one to
    compare by. ``corrections``: score by what people corrected, who choose what they correct.
    ``success`` and both scores count the calls for which the model was chosen; one that it did not
    answer is worth 0. None where there is nothing to tell from.
    """

    reference: str
    hosting: str
    traffic: Traffic
    share: float
    success: Success | None
    outcomes: Score | None
    corrections: Score | None

    @property
    def cost_per_call(self) -> float | None:
        return self.traffic.cost / self.traffic.calls if self.traffic.calls else None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFigures:
    """A task in the whole hours ``[since, until)``; ``models`` by answered calls, most first. One
    that answered nothing is told of only if it is a version of the task or on its route or chain.

    ``looked_at``: calls that ``success`` was counted in; ``is_complete``: whether those are all of
    the window. Forced, imported and shadow calls are in none of it.
    """

    task: str
    since: datetime
    until: datetime
    total: Traffic
    models: Sequence[ModelFigures]
    looked_at: int
    is_complete: bool


def figures(unit: ReadUnit, spec: TaskSpec, window: Window) -> TaskFigures:
    """The figures of one task. Raises Invalid (``window``) for one that ends before it begins."""
    if window.until <= window.since:
        raise Invalid("a window ends after it begins", code="window")
    counted = traffic.of_tasks(unit, window.since, window.until, spec.name).get(spec.name)
    found = counted or traffic.nothing(spec.name, window.since, window.until)
    success, looked_at = _successes(unit, spec, window)
    scores = {kind: _scores(unit, spec, window, kind) for kind in TARGETS}
    answered = {one.reference: one for one in found.references}
    asked = dict.fromkeys([*success, *(name for by in scores.values() for name in by)])
    known = _known(unit, spec) if asked.keys() - answered.keys() else set()
    told = dict.fromkeys([*answered, *(name for name in asked if name in known)])
    hosts = {one.reference: one.hosting for one in found.references}
    models = [
        ModelFigures(
            reference=name,
            hosting=hosts.get(name, ""),
            traffic=answered[name].traffic if name in answered else NO_CALLS,
            share=answered[name].traffic.calls / found.total.answered if name in answered else 0.0,
            success=success.get(name),
            outcomes=scores[FeedbackKind.OUTCOME].get(name),
            corrections=scores[FeedbackKind.CORRECTION].get(name),
        )
        for name in told
    ]
    return TaskFigures(
        task=spec.name,
        since=window.since,
        until=window.until,
        total=found.total,
        models=models,
        looked_at=looked_at,
        is_complete=looked_at < NEWEST_CALLS,
    )


def _known(unit: ReadUnit, spec: TaskSpec) -> set[str]:
    """Models that may answer the task; a caller may ask for any other name, and get nothing."""
    route = routes.current(unit, spec.name)
    on_route = () if route is None else (route.incumbent, route.candidate, route.pin, *route.chain)
    own = (version.reference for version in versions.list_versions(unit, spec.name))
    return {name for name in (*spec.chain, *on_route, *own) if name}


def _successes(unit: ReadUnit, spec: TaskSpec, window: Window) -> tuple[dict[str, Success], int]:
    """Good calls are counted where they lie; only of the others the tries are read."""
    columns = ("attempts", "reference", "status", "rescued", "arm")
    newest = (
        select(*(_interaction.c[name] for name in columns))
        .where(
            _interaction.c.task == spec.name,
            *Span(since=window.since, until=window.until).where(_interaction),
        )
        .order_by(_interaction.c.created_at.desc())
        .limit(NEWEST_CALLS)
        .subquery()
    )
    is_good = and_(newest.c.status == Status.ANSWERED.value, newest.c.rescued.is_(False))
    counted = or_(newest.c.arm.is_(None), newest.c.arm.not_in(NOT_COUNTED))
    good = (
        select(newest.c.reference, func.count().label("calls"))
        .where(is_good, counted, newest.c.reference.is_not(None))
        .group_by(newest.c.reference)
    )
    counts = {row.reference: [row.calls, row.calls] for row in unit.execute(good)}
    for row in unit.execute(select(newest).where(not_(is_good), counted)):
        name = _asked_first(row)
        if name is not None:
            counts.setdefault(name, [0, 0])[0] += 1
    looked_at = unit.execute(select(func.count()).select_from(newest)).scalar_one()
    found = {name: Success(calls=calls, good=good) for name, (calls, good) in counts.items()}
    return found, looked_at


def _scores(unit: ReadUnit, spec: TaskSpec, window: Window, kind: FeedbackKind) -> dict[str, Score]:
    """By the reference that was asked first; of several statements about a call the newest."""
    newest = (
        select(_feedback.c.interaction_id, _feedback.c.value, _feedback.c.created_at)
        .where(
            _feedback.c.kind == kind.value,
            *Span(since=window.since, until=window.until).where(_feedback),
        )
        .order_by(_feedback.c.created_at.desc())
        .limit(NEWEST_STATEMENTS)
        .subquery()
    )
    columns = ("attempts", "reference", "status", "rescued", "input", "output")
    statement = (
        select(newest, *(_interaction.c[name] for name in columns))
        .join(_interaction, _interaction.c.id == newest.c.interaction_id)
        .where(
            _interaction.c.task == spec.name,
            _interaction.c.task_revision == spec.revision,
            or_(_interaction.c.arm.is_(None), _interaction.c.arm.not_in(NOT_COUNTED)),
        )
        .order_by(newest.c.created_at.desc())
    )
    seen: set[str] = set()
    items: dict[str, list[float]] = {}
    for row in unit.execute(statement):
        name = _asked_first(row)
        if name is None or row.interaction_id in seen:
            continue
        seen.add(row.interaction_id)
        score = _score(spec, row)
        if score is not None:
            items.setdefault(name, []).append(score)
    return {name: Score(items=len(found), mean=task_score(found)) for name, found in items.items()}


def _asked_first(row: Any) -> str | None:
    """The model that the route chose, whether it answered or not."""
    tries: Sequence[Mapping[str, Any]] = row.attempts or ()
    name = tries[0].get("reference") if tries else row.reference
    return None if name is None else str(name)


def _is_good(row: Any) -> bool:
    return bool(row.status == Status.ANSWERED and not row.rescued)


def _score(spec: TaskSpec, row: Any) -> float | None:
    """Worth of an answer; None where the truth is no output of the task, or content is not kept."""
    sent = row.input if isinstance(row.input, str) else None
    try:
        truth = outputs.check(spec, row.value, sent)
        if not _is_good(row):
            return 0.0
        worth = item_score(spec, outputs.check(spec, row.output, sent), truth)
    except (Invalid, TypeError):
        return None
    return worth if math.isfinite(worth) else None
