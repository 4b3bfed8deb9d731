"""Training runs and their events, as plain functions over a unit of work.

A run's status moves by compare-and-set along ``core.states.RUNS``, and every move is an event.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, insert, select, update

from inhouse.core.errors import Conflict, NotFound
from inhouse.core.ids import RunId
from inhouse.core.states import RUNS, RunStatus
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.training.tables import TrainingEvent, TrainingRun

STATUS = "status"
PROGRESS = "progress"

_run = table_of(TrainingRun)
_event = table_of(TrainingEvent)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One training run. ``metrics`` once it has succeeded, ``error`` once it has failed."""

    id: RunId
    task: str
    task_revision: str
    recipe: str
    settings: Mapping[str, Any]
    snapshot_id: str
    snapshot_hash: str
    status: RunStatus
    job_id: str
    error: str | None
    metrics: Mapping[str, Any] | None
    version_id: str | None
    actor: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a run; ``sequence`` counts from 1 without gaps.

    ``kind`` is ``status`` ({status, error?}) or ``progress`` ({done, total, note, point?}). A point
    is one of the run's curves: {part, epoch, step, train_loss, valid_score, seconds_left}, see
    ``trainers.base.curve_point``.
    """

    sequence: int
    at: datetime
    kind: str
    data: Mapping[str, Any]


def create(
    unit: WriteUnit,
    *,
    run_id: str,
    job_id: str,
    task: str,
    task_revision: str,
    recipe: str,
    settings: Mapping[str, Any],
    snapshot_id: str,
    snapshot_hash: str,
    actor: str,
    at: datetime,
) -> Run:
    """Enter a queued run."""
    values = {
        "id": run_id,
        "job_id": job_id,
        "task": task,
        "task_revision": task_revision,
        "recipe": recipe,
        "settings": dict(settings),
        "snapshot_id": snapshot_id,
        "snapshot_hash": snapshot_hash,
        "status": RunStatus.QUEUED,
        "actor": actor,
        "created_at": at,
    }
    unit.execute(insert(_run).values(**values))
    append(unit, run_id, STATUS, {"status": RunStatus.QUEUED}, at=at)
    return get(unit, run_id)


def get(unit: ReadUnit, run_id: str) -> Run:
    """The run. Raises NotFound (``run-not-found``)."""
    row = unit.execute(select(_run).where(_run.c.id == run_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no training run {run_id}", code="run-not-found", hint="inhouse train status"
        )
    return _record(row)


def list_runs(
    unit: ReadUnit,
    *,
    task: str | None = None,
    status: RunStatus | None = None,
    limit: int = 100,
) -> list[Run]:
    """The newest runs first."""
    query = select(_run).order_by(_run.c.created_at.desc(), _run.c.id.desc()).limit(limit)
    if task is not None:
        query = query.where(_run.c.task == task)
    if status is not None:
        query = query.where(_run.c.status == status)
    return [_record(row) for row in unit.execute(query)]


def ended(unit: ReadUnit, run_ids: Collection[str]) -> list[str]:
    """Which of these are runs that have ended."""
    final = [status.value for status in RunStatus if RUNS.is_final(status)]
    found = select(_run.c.id).where(_run.c.id.in_(run_ids), _run.c.status.in_(final))
    return list(unit.execute(found).scalars())


def start(unit: WriteUnit, run_id: str, *, at: datetime) -> Run:
    """Queued becomes running. Raises NotFound, Conflict."""
    return _move(unit, run_id, RunStatus.RUNNING, at, started_at=at, error=None)


def requeue(unit: WriteUnit, run_id: str, *, at: datetime) -> Run:
    """A running run goes back to the queue, to start over. Raises NotFound, Conflict."""
    return _move(unit, run_id, RunStatus.QUEUED, at, started_at=None)


def succeed(
    unit: WriteUnit, run_id: str, *, version_id: str, metrics: Mapping[str, Any], at: datetime
) -> Run:
    """The run has made a version. Raises NotFound, Conflict."""
    values = {"version_id": version_id, "metrics": dict(metrics), "finished_at": at}
    return _move(unit, run_id, RunStatus.SUCCEEDED, at, **values)


def fail(unit: WriteUnit, run_id: str, error: str, *, at: datetime) -> Run:
    """The run ended without a version, for this reason. Raises NotFound, Conflict."""
    return _move(unit, run_id, RunStatus.FAILED, at, error=error, finished_at=at)


def cancel(unit: WriteUnit, run_id: str, *, at: datetime) -> Run:
    """The run was stopped on request. Raises NotFound, Conflict."""
    return _move(unit, run_id, RunStatus.CANCELLED, at, finished_at=at)


def append(
    unit: WriteUnit, run_id: str, kind: str, data: Mapping[str, Any], *, at: datetime
) -> int:
    """Add an event; returns its sequence. The run's row is locked, so numbers never clash."""
    unit.execute(select(_run.c.id).where(_run.c.id == run_id).with_for_update())
    last = select(func.max(_event.c.sequence)).where(_event.c.run_id == run_id)
    sequence = (unit.execute(last).scalar() or 0) + 1
    row = {"run_id": run_id, "sequence": sequence, "at": at, "kind": kind, "data": dict(data)}
    unit.execute(insert(_event).values(**row))
    return sequence


def events(unit: ReadUnit, run_id: str, *, after: int = 0, limit: int = 1000) -> list[Event]:
    """The events with a sequence above ``after``, in order."""
    query = (
        select(_event)
        .where(_event.c.run_id == run_id, _event.c.sequence > after)
        .order_by(_event.c.sequence)
        .limit(limit)
    )
    return [
        Event(sequence=row.sequence, at=row.at, kind=row.kind, data=row.data)
        for row in unit.execute(query)
    ]


def _move(unit: WriteUnit, run_id: str, target: RunStatus, at: datetime, **values: Any) -> Run:
    moved = (
        update(_run)
        .where(_run.c.id == run_id, _run.c.status.in_(RUNS.before(target)))
        .values(status=target, **values)
    )
    if not unit.execute(moved).rowcount:
        RUNS.check(get(unit, run_id).status, target)
        raise Conflict(f"training run {run_id} changed meanwhile", code="run-changed")
    told = {"status": target, **({"error": values["error"]} if values.get("error") else {})}
    append(unit, run_id, STATUS, told, at=at)
    return get(unit, run_id)


def _record(row: Row[Any]) -> Run:
    fields = dict(row._mapping)
    return Run(**{**fields, "status": RunStatus(fields["status"])})
