"""Experiments as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Row, insert, select, update

from inhouse.core.errors import Conflict, NotFound
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.rollout import findings
from inhouse.rollout.findings import ExperimentState, Findings, Question
from inhouse.rollout.tables import Experiment, SplitOwner
from inhouse.rollout.trial import Measure

KIND: Final = "experiment"
"""``SplitOwner.kind`` of an experiment."""
_table = table_of(Experiment)
_owners = table_of(SplitOwner)
_ASKED: Final = tuple(one.name for one in fields(Question))


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRecord:
    """An experiment as it stands. ``route_revision`` is the revision of the route that splits its
    traffic; ``tables.Experiment`` says what the other fields mean."""

    id: str
    question: Question
    state: ExperimentState
    revision: int
    route_revision: int
    incumbent_before: str
    start: Mapping[str, int]
    findings: Findings
    actor: str
    reason: str
    created_at: datetime
    ended_at: datetime | None

    @property
    def task(self) -> str:
        """Its task."""
        return self.question.task

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.ended_at is not None

    @property
    def until(self) -> datetime | None:
        """When its time limit passes; None without one."""
        days = self.question.days
        return None if days is None else self.created_at + timedelta(days=days)


def get(unit: ReadUnit, experiment_id: str, *, lock: bool = False) -> ExperimentRecord:
    """The experiment with that id. ``lock``: nobody else changes it until the unit ends. Raises
    NotFound (``experiment-not-found``)."""
    statement = select(_table).where(_table.c.id == experiment_id)
    if lock:
        statement = statement.with_for_update()
    row = unit.execute(statement).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no experiment {experiment_id}",
            code="experiment-not-found",
            hint="`inhouse experiment status` shows those there are",
        )
    return _record(row)


def open_of(unit: ReadUnit, task: str) -> ExperimentRecord | None:
    """The unfinished experiment of a task, if there is one."""
    found = select(_table).where(_table.c.task == task, _table.c.ended_at.is_(None))
    row = unit.execute(found).one_or_none()
    return None if row is None else _record(row)


def list_experiments(
    unit: ReadUnit, task: str | None = None, limit: int = 50, *, running_first: bool = False
) -> list[ExperimentRecord]:
    """Experiments of one task, or of all, newest first; with ``running_first`` those that have not
    ended before all others, however old they are."""
    ended = [_table.c.ended_at.is_not(None)] if running_first else []
    order = (*ended, _table.c.created_at.desc(), _table.c.id.desc())
    statement = select(_table).order_by(*order).limit(limit)
    if task is not None:
        statement = statement.where(_table.c.task == task)
    return [_record(row) for row in unit.execute(statement)]


def ended_since(unit: ReadUnit, since: datetime) -> list[ExperimentRecord]:
    """Experiments that ended after a moment, newest first."""
    statement = (
        select(_table)
        .where(_table.c.ended_at > since)
        .order_by(_table.c.ended_at.desc(), _table.c.id.desc())
    )
    return [_record(row) for row in unit.execute(statement)]


def unfinished(unit: ReadUnit) -> list[str]:
    """The ids of every experiment that has not ended."""
    statement = select(_owners.c.owner_id).where(_owners.c.kind == KIND)
    return sorted(unit.execute(statement).scalars())


def add(
    unit: WriteUnit,
    experiment_id: str,
    question: Question,
    *,
    by_user: bool,
    route_revision: int,
    incumbent_before: str,
    start: Mapping[str, int],
    actor: str,
    reason: str,
    at: datetime,
) -> ExperimentRecord:
    """Store an experiment that has counted nothing yet."""
    row = {
        **{name: getattr(question, name) for name in _ASKED},
        "id": experiment_id,
        "metric": question.metric.value,
        "state": ExperimentState.RUNNING.value,
        "revision": 1,
        "route_revision": route_revision,
        "incumbent_before": incumbent_before,
        "start": dict(start),
        "result": findings.as_json(Findings(by_user=by_user)),
        "actor": actor,
        "reason": reason,
        "created_at": at,
    }
    unit.execute(insert(_table).values(**row))
    return get(unit, experiment_id)


def change(
    unit: WriteUnit, seen: ExperimentRecord, found: Findings, **values: Any
) -> ExperimentRecord:
    """Store what was found and new values, by compare-and-set on the revision that the caller saw.

    Raises Conflict (``experiment-changed``) when somebody else was first. Until the unit ends
    nobody else changes the experiment.
    """
    changed = unit.execute(
        update(_table)
        .where(_table.c.id == seen.id, _table.c.revision == seen.revision)
        .values(**values, result=findings.as_json(found), revision=seen.revision + 1)
    )
    if changed.rowcount != 1:
        raise Conflict(
            f"the experiment of {seen.task} changed meanwhile",
            code="experiment-changed",
            hint="look at `inhouse experiment status` and repeat",
        )
    return get(unit, seen.id)


def note(unit: WriteUnit, seen: ExperimentRecord, found: Findings) -> None:
    """Store how far an experiment is, unless it changed meanwhile. That changes nothing of it: a
    person who steers it meets no newer revision."""
    same = (_table.c.id == seen.id, _table.c.revision == seen.revision)
    unit.execute(update(_table).where(*same).values(result=findings.as_json(found)))


def _record(row: Row[Any]) -> ExperimentRecord:
    values = dict(row._mapping)
    asked = {name: values.pop(name) for name in _ASKED}
    question = Question(**{**asked, "metric": Measure(asked["metric"])})
    state = ExperimentState(values.pop("state"))
    found = findings.from_json(values.pop("result"))
    return ExperimentRecord(**values, question=question, state=state, findings=found)
