"""Erasing a subject's data, or what is older than a moment, wherever it went.

The job works in batches, each of them one transaction: calls, what was said about them, imported
examples, the examples that snapshots hold of them, what models answered to these, and answers that
are kept for repeats. What is erased is not found again, so a job that was killed goes on where it
was. Counts remain.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, select, update

from inhouse.core.clock import Clock
from inhouse.core.states import RUNS, JobStatus
from inhouse.datasets import erase as examples
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.log import empty_log
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.evaluation.erase import erase_answers
from inhouse.feedback import erase as feedback
from inhouse.gateway.idempotency import forget_during
from inhouse.interactions import erase as calls
from inhouse.interactions.erase import Call
from inhouse.interactions.pseudonym import pseudonym, salt_of
from inhouse.interactions.tables import Erasure
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.jobs.queue import JobRecord, Progress
from inhouse.registry.tables import ModelVersion
from inhouse.training.tables import TrainingRun

JOB: Final = "interactions.erase"
BATCH: Final = 500
_table = table_of(Erasure)
_version = table_of(ModelVersion)
_run = table_of(TrainingRun)
_COUNTED: Final = ("interactions", "feedback", "imported", "examples")


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureRecord:
    """What was erased. ``counts`` is {interactions, feedback, imported, examples}; ``versions``
    were trained from some of it, on ``snapshots`` (ids); both are complete once ``finished_at`` is
    set. ``subject`` is a pseudonym, None for a purge by age: of one ``task``, or of all (None)."""

    id: str
    subject: str | None
    before: datetime | None
    task: str | None
    counts: Mapping[str, int]
    snapshots: Sequence[str]
    versions: Sequence[str]
    actor: str
    created_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What there is of a subject: its ``pseudonym``, calls with content, imported examples."""

    pseudonym: str
    interactions: int
    imported: int


def held(unit: ReadUnit, subject: str) -> Held:
    """What an erasure of a subject would begin with."""
    hidden = pseudonym(salt_of(unit), subject)
    return Held(
        pseudonym=hidden,
        interactions=calls.count_of_subject(unit, hidden),
        imported=examples.count_imported(unit, hidden),
    )


def request_subject(unit: WriteUnit, subject: str, *, actor: str, at: datetime) -> JobRecord:
    """Queue the erasure of everything of a subject, or return the job that has not ended. The job
    knows the subject by its pseudonym only."""
    hidden = pseudonym(salt_of(unit), subject)
    return _request(unit, {"subject": hidden, "before": None}, actor, at)


def request_before(
    unit: WriteUnit, before: datetime, *, task: str | None = None, actor: str, at: datetime
) -> JobRecord:
    """Queue the erasure of calls (of one task, or all) that began before a moment, and of what was
    said about them, or return the job that has not ended. Imported examples stay: they have no age
    of their own; so does, for one task, what was said about calls that are not recorded."""
    wanted = {"subject": None, "before": before.isoformat()}
    return _request(unit, wanted if task is None else {**wanted, "task": task}, actor, at)


def has_older(unit: ReadUnit, before: datetime, task: str) -> bool:
    """Whether ``request_before`` for a task would find content to erase."""
    return bool(calls.older(unit, before, None, 1, task))


def _request(
    unit: WriteUnit, wanted: Mapping[str, str | None], actor: str, at: datetime
) -> JobRecord:
    for status in (JobStatus.QUEUED, JobStatus.RUNNING):
        for job in queue.list_jobs(unit, status=status, name=JOB):
            if {**job.arguments, "actor": None} == {**wanted, "actor": None}:
                return job
    return queue.enqueue(unit, JOB, {**wanted, "actor": actor}, at=at)


def get(unit: ReadUnit, erasure_id: str) -> ErasureRecord | None:
    """The erasure of a job; None before its first batch."""
    row = unit.execute(select(_table).where(_table.c.id == erasure_id)).one_or_none()
    return None if row is None else _record(row)


def list_erasures(unit: ReadUnit, limit: int = 50) -> list[ErasureRecord]:
    """Erasures, newest first."""
    newest = select(_table).order_by(_table.c.created_at.desc(), _table.c.id.desc()).limit(limit)
    return [_record(row) for row in unit.execute(newest)]


@dataclass(frozen=True, slots=True)
class Eraser:
    """Handler of the job ``interactions.erase``. Its result is {erasure_id, counts, versions,
    running, log_emptied}: ``running`` are training runs that had read some of the data before.
    ``sweep`` removes what runs that have ended left on the disk."""

    database: Database
    clock: Clock
    sweep: Callable[[], None]

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any]:
        with self.database.write() as unit:
            plan = _begin(unit, job.record.id, arguments, self.clock.now())
        while True:
            with self.database.write() as unit:
                more = plan.batch(unit)
                job.progress_in(unit, plan.progress(unit))
            job.check()
            if not more:
                break
        self.sweep()
        with self.database.write() as unit:
            record, running = _finish(unit, job.record.id, self.clock.now())
        return {
            "erasure_id": record.id,
            "counts": dict(record.counts),
            "versions": list(record.versions),
            "running": running,
            "log_emptied": empty_log(self.database),
        }


class _Plan:
    """What one job erases, batch by batch."""

    def __init__(
        self,
        erasure_id: str,
        subject: str | None,
        before: datetime | None,
        task: str | None,
        total: int,
    ) -> None:
        self._id, self._subject, self._before, self._total = erasure_id, subject, before, total
        self._task = task
        self._last: Call | None = None
        self._done = 0

    def batch(self, unit: WriteUnit) -> bool:
        """Erase some. Whether there may be more."""
        found = self._calls(unit)
        if found:
            self._last = found[-1]
            self._note(unit, found)
            return True
        if self._subject is not None:
            return self._imported(unit, self._subject)
        return self._lost(unit)

    def progress(self, unit: ReadUnit) -> Progress:
        """How far it is."""
        return Progress(done=self._done, total=max(self._total, self._done), note="erasing")

    def _calls(self, unit: ReadUnit) -> list[Call]:
        if self._subject is not None:
            return calls.of_subject(unit, self._subject, BATCH)
        if self._before is None:
            return []
        return calls.older(unit, self._before, self._last, BATCH, self._task)

    def _note(self, unit: WriteUnit, found: Sequence[Call]) -> None:
        ids = [call.id for call in found]
        calls.erase(unit, found)
        said = feedback.erase(unit, ids)
        forget_during(unit, [(call.key_id or "", call.created_at) for call in found])
        by_snapshot = examples.erase_examples(unit, ids)
        self._done += len(ids)
        _add(unit, self._id, by_snapshot, interactions=len(ids), feedback=said)

    def _imported(self, unit: WriteUnit, subject: str) -> bool:
        ids = examples.imported_of_subject(unit, subject, BATCH)
        if ids:
            self._done += len(ids)
            _add(unit, self._id, examples.erase_imported(unit, ids), imported=len(ids))
        return bool(ids)

    def _lost(self, unit: WriteUnit) -> bool:
        if self._before is None or self._task is not None:
            return False
        gone = feedback.erase_lost(unit, self._before, BATCH)
        _add(unit, self._id, Counter(), feedback=gone)
        return bool(gone)


def _begin(unit: WriteUnit, erasure_id: str, arguments: Mapping[str, Any], at: datetime) -> _Plan:
    subject = arguments["subject"]
    before = None if arguments["before"] is None else datetime.fromisoformat(arguments["before"])
    task = arguments.get("task")
    if subject is not None:
        total = calls.count_of_subject(unit, subject) + examples.count_imported(unit, subject)
    else:
        total = 0 if before is None else calls.count_before(unit, before, task)
    row = {
        "id": erasure_id,
        "subject": subject,
        "before": before,
        "task": task,
        "counts": dict.fromkeys(_COUNTED, 0),
        "snapshots": [],
        "versions": [],
        "actor": arguments["actor"],
        "created_at": at,
    }
    unit.execute(insert_ignore(unit, Erasure).values(**row))
    return _Plan(erasure_id, subject, before, task, total)


def _add(unit: WriteUnit, erasure_id: str, by_snapshot: Counter[str], **counts: int) -> None:
    """Add a batch to the erasure's row, and erase what models answered to its examples."""
    one = _table.c.id == erasure_id
    row = unit.execute(select(_table).where(one).with_for_update()).one()
    added = {**dict.fromkeys(_COUNTED, 0), **counts, "examples": by_snapshot.total()}
    erase_answers(unit, list(by_snapshot))
    unit.execute(
        update(_table)
        .where(one)
        .values(
            counts={name: row.counts[name] + added[name] for name in _COUNTED},
            snapshots=sorted({*row.snapshots, *by_snapshot}),
        )
    )


def _finish(unit: WriteUnit, erasure_id: str, at: datetime) -> tuple[ErasureRecord, list[str]]:
    """Close the erasure's row: the versions trained from some of it, and runs that still train."""
    one = _table.c.id == erasure_id
    snapshots = unit.execute(select(_table.c.snapshots).where(one)).scalar_one()
    versions = trained_from(unit, snapshots)
    unit.execute(update(_table).where(one).values(versions=versions, finished_at=at))
    begun = select(_run.c.id, _run.c.status).where(
        _run.c.snapshot_id.in_(snapshots), _run.c.started_at.is_not(None)
    )
    running = [row.id for row in unit.execute(begun) if not RUNS.is_final(row.status)]
    return _record(unit.execute(select(_table).where(one)).one()), running


def trained_from(unit: ReadUnit, snapshot_ids: Collection[str]) -> list[str]:
    """References of the versions that were trained on these snapshots, in order."""
    made = select(_version.c.task, _version.c.number).where(
        _version.c.snapshot_id.in_(snapshot_ids)
    )
    rows = unit.execute(made.order_by(_version.c.task, _version.c.number))
    return [f"{row.task}@{row.number}" for row in rows]


def _record(row: Row[Any]) -> ErasureRecord:
    return ErasureRecord(**row._mapping)
