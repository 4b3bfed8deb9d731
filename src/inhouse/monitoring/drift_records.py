"""What was found about drift, as it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, func, insert, select

from inhouse.core.ids import new_id
from inhouse.core.states import JobStatus
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.jobs import queue
from inhouse.jobs.queue import JobRecord
from inhouse.monitoring.drift_distance import Side
from inhouse.monitoring.tables import Drift

JOB: Final = "drift"
"""Name of the job that looks for drift; its argument ``task`` is a name, or null for all tasks."""
_table = table_of(Drift)


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """One side as it was looked at. ``against``: what it was compared with, in words; ``why_not``:
    why nothing could be compared, "" where something was."""

    side: Side
    against: str
    why_not: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftRecord:
    """One look at one model of a task.

    ``inputs`` and ``outputs`` are the largest distances of their comparisons, in [0, 1], None where
    there was nothing to compare with. ``calls``: the newest calls that were looked at. ``detail``:
    by side {against, why_not, level, gaps: [{name, distance, least, chance, before, now, words,
    drifted}]}, and ``encoder``, the name of what compared by meaning, or null.
    """

    id: str
    task: str
    reference: str
    calls: int
    inputs: float | None
    outputs: float | None
    drifted: bool
    detail: Mapping[str, Any]
    created_at: datetime

    @property
    def reasons(self) -> list[str]:
        """What drifted, in words."""
        return [
            f"{side}: {gap['name']}: {gap['words']}"
            for side in ("inputs", "outputs")
            for gap in self.detail[side]["gaps"]
            if gap["drifted"]
        ]


def add(
    unit: WriteUnit,
    *,
    task: str,
    reference: str,
    calls: int,
    inputs: Looked,
    outputs: Looked,
    encoder: str | None,
    at: datetime,
) -> DriftRecord:
    """Store one look."""
    row = {
        "id": new_id(),
        "task": task,
        "reference": reference,
        "calls": calls,
        "inputs": inputs.side.distance,
        "outputs": outputs.side.distance,
        "drifted": bool(inputs.side.drifted or outputs.side.drifted),
        "detail": {"inputs": _plain(inputs), "outputs": _plain(outputs), "encoder": encoder},
        "created_at": at,
    }
    unit.execute(insert(_table).values(**row))
    found = unit.execute(select(_table).where(_table.c.id == row["id"])).one()
    return _record(found)


def list_drift(unit: ReadUnit, task: str | None = None, limit: int = 50) -> list[DriftRecord]:
    """Looks at one task or at all, newest first."""
    statement = select(_table).order_by(_table.c.created_at.desc(), _table.c.id.desc()).limit(limit)
    if task is not None:
        statement = statement.where(_table.c.task == task)
    return [_record(row) for row in unit.execute(statement)]


def newest(unit: ReadUnit, task: str | None = None) -> list[DriftRecord]:
    """The newest look at every model, by task and reference."""
    keys = (_table.c.task, _table.c.reference)
    last = select(*keys, func.max(_table.c.created_at).label("at")).group_by(*keys)
    if task is not None:
        last = last.where(_table.c.task == task)
    of = last.subquery()
    statement = (
        select(_table)
        .join(
            of,
            (_table.c.task == of.c.task)
            & (_table.c.reference == of.c.reference)
            & (_table.c.created_at == of.c.at),
        )
        .order_by(*keys, _table.c.id)
    )
    found = {(row.task, row.reference): _record(row) for row in unit.execute(statement)}
    return list(found.values())


def request(unit: WriteUnit, task: str | None, *, at: datetime) -> JobRecord:
    """Queue a look at a task, or at all, or return the job that has not ended."""
    for status in (JobStatus.QUEUED, JobStatus.RUNNING):
        for job in queue.list_jobs(unit, status=status, name=JOB):
            if job.arguments.get("task") == task:
                return job
    return queue.enqueue(unit, JOB, {"task": task}, at=at)


def _plain(looked: Looked) -> dict[str, Any]:
    side, drifted = looked.side, looked.side.drifted
    return {
        "against": looked.against,
        "why_not": looked.why_not,
        "level": side.level,
        "gaps": [{**asdict(gap), "drifted": gap in drifted} for gap in side.gaps],
    }


def _record(row: Row[Any]) -> DriftRecord:
    return DriftRecord(**row._mapping)
