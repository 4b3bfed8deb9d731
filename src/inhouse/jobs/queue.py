"""The queue as plain functions over a unit of work.

A job moves ``queued -> running -> done | failed | cancelled``; a lost lease, a failure that may be
tried again and a worker that shuts down bring it back to queued. Whoever claims a job gets a
``lease`` of its own: every later change names it, so that a worker which lost its lease (because it
slept, or its machine did) can change nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, insert, or_, select, update

from inhouse.core.errors import Conflict, NotFound
from inhouse.core.ids import JobId, new_id
from inhouse.core.states import JOBS, JobStatus
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.jobs.tables import Job

LEASE_SECONDS = 30.0
MAX_ATTEMPTS = 3
LOST = "its worker stopped answering"
_ERROR_LENGTH = 2000

_job = table_of(Job)


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far a job is: ``done`` of ``total`` steps (``total`` 0: not known), and what it does."""

    done: float
    total: float
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRecord:
    """One job. ``attempts`` counts the claims so far; ``lease`` names the claim that holds it."""

    id: JobId
    name: str
    arguments: Mapping[str, Any]
    status: JobStatus
    attempts: int
    max_attempts: int
    run_after: datetime
    lease: str | None
    lease_until: datetime | None
    cancel_requested: bool
    progress: Progress | None
    result: Mapping[str, Any] | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def is_final(self) -> bool:
        """Whether nothing more happens to it unless a person retries it."""
        return self.status in {JobStatus.DONE, JobStatus.FAILED, JobStatus.CANCELLED}


def enqueue(
    unit: WriteUnit,
    name: str,
    arguments: Mapping[str, Any],
    *,
    at: datetime,
    run_after: datetime | None = None,
    max_attempts: int = MAX_ATTEMPTS,
) -> JobRecord:
    """Add a job for the handler ``name``, due at once or at ``run_after``."""
    job_id = new_id()
    values = {
        "id": job_id,
        "name": name,
        "arguments": dict(arguments),
        "status": JobStatus.QUEUED,
        "attempts": 0,
        "max_attempts": max_attempts,
        "run_after": run_after or at,
        "cancel_requested": False,
        "created_at": at,
    }
    unit.execute(insert(_job).values(**values))
    return get(unit, job_id)


def get(unit: ReadUnit, job_id: str) -> JobRecord:
    """The job. Raises NotFound (``job-not-found``)."""
    row = unit.execute(select(_job).where(_job.c.id == job_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no job {job_id}", code="job-not-found", hint="inhouse jobs list")
    return _record(row)


def list_jobs(
    unit: ReadUnit,
    *,
    status: JobStatus | None = None,
    name: str | None = None,
    limit: int = 100,
) -> list[JobRecord]:
    """The newest jobs first."""
    query = select(_job).order_by(_job.c.created_at.desc(), _job.c.id.desc()).limit(limit)
    if status is not None:
        query = query.where(_job.c.status == status)
    if name is not None:
        query = query.where(_job.c.name == name)
    return [_record(row) for row in unit.execute(query)]


def has_work(unit: ReadUnit, names: Collection[str], *, at: datetime) -> bool:
    """Whether a job of these names is due or has lost its worker. A cheap look before ``claim``."""
    due = and_(_job.c.status == JobStatus.QUEUED, _job.c.run_after <= at)
    query = select(_job.c.id).where(_job.c.name.in_(list(names)), or_(due, _lost(at))).limit(1)
    return unit.execute(query).first() is not None


def claim(
    unit: WriteUnit,
    names: Collection[str],
    worker: str,
    *,
    at: datetime,
    lease_s: float = LEASE_SECONDS,
    job_id: str | None = None,
) -> JobRecord | None:
    """Take the job of these names that has been due longest (or exactly ``job_id``), or None.

    The caller holds it for ``lease_s`` seconds and renews in time. No two callers get the same
    claim, on either dialect.
    """
    query = (
        select(_job.c.id)
        .where(_job.c.status == JobStatus.QUEUED, _job.c.run_after <= at)
        .where(_job.c.name.in_(list(names)))
        .order_by(_job.c.run_after, _job.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if job_id is not None:
        query = query.where(_job.c.id == job_id)
    found = unit.execute(query).scalar_one_or_none()
    if found is None:
        return None
    taken = (
        update(_job)
        .where(_job.c.id == found, _job.c.status == JobStatus.QUEUED)
        .values(
            status=JobStatus.RUNNING,
            attempts=_job.c.attempts + 1,
            lease_owner=f"{worker[:80]}/{new_id()}",
            lease_until=at + timedelta(seconds=lease_s),
            started_at=at,
            error=None,
        )
    )
    return get(unit, found) if unit.execute(taken).rowcount else None


def lost(unit: ReadUnit, names: Collection[str], *, at: datetime) -> list[JobId]:
    """The jobs of these names whose lease has run out."""
    query = select(_job.c.id).where(_job.c.name.in_(list(names)), _lost(at)).order_by(_job.c.id)
    return list(unit.execute(query).scalars())


def release_lost(unit: WriteUnit, job_id: str, *, at: datetime) -> JobRecord | None:
    """Bring back a job whose lease has run out, and return it as it is now; None when its lease was
    renewed meanwhile, or somebody else brings it back.

    Cancelled if that was asked for; queued while attempts are left; failed otherwise.
    """
    query = select(_job).where(_job.c.id == job_id, _lost(at)).with_for_update(skip_locked=True)
    row = unit.execute(query).one_or_none()
    if row is None:
        return None
    job = _record(row)
    return _leave(unit, job, _after_loss(job), at, error=LOST)


def renew(unit: WriteUnit, job: JobRecord, *, at: datetime, lease_s: float = LEASE_SECONDS) -> bool:
    """Prolong the lease; False when this claim does not hold the job any more."""
    statement = _held(job).values(lease_until=at + timedelta(seconds=lease_s))
    return bool(unit.execute(statement).rowcount)


def holds(unit: ReadUnit, job: JobRecord) -> bool:
    """Whether this claim still holds its job; in a write unit nobody can take it until it ends."""
    query = select(_job.c.id).where(_job.c.id == job.id, _job.c.lease_owner == job.lease)
    query = query.where(_job.c.status == JobStatus.RUNNING).with_for_update()
    return unit.execute(query).first() is not None


def set_progress(unit: WriteUnit, job: JobRecord, progress: Progress) -> bool:
    """Say how far it is; False when this claim does not hold the job any more."""
    value = {"done": progress.done, "total": progress.total, "note": progress.note}
    return bool(unit.execute(_held(job).values(progress=value)).rowcount)


def finish(
    unit: WriteUnit, job: JobRecord, result: Mapping[str, Any] | None, *, at: datetime
) -> JobRecord | None:
    """The job is done. None when this claim does not hold it any more."""
    return _leave(unit, job, JobStatus.DONE, at, result=dict(result or {}))


def fail(
    unit: WriteUnit,
    job: JobRecord,
    error: str,
    *,
    at: datetime,
    retry_in_s: float | None = None,
) -> JobRecord | None:
    """The job failed for good, or (with ``retry_in_s`` and attempts left) is tried again then.

    None when this claim does not hold it any more.
    """
    again = retry_in_s is not None and job.attempts < job.max_attempts
    status = JobStatus.QUEUED if again else JobStatus.FAILED
    due = at + timedelta(seconds=retry_in_s or 0.0)
    return _leave(unit, job, status, at, error=error[:_ERROR_LENGTH], run_after=due)


def release(unit: WriteUnit, job: JobRecord, *, at: datetime) -> JobRecord | None:
    """Give an unfinished job back, as if this claim had not been."""
    return _leave(unit, job, JobStatus.QUEUED, at, attempts=job.attempts - 1)


def stopped(unit: WriteUnit, job: JobRecord, *, at: datetime) -> JobRecord | None:
    """The handler gave up because the job was to be cancelled."""
    return _leave(unit, job, JobStatus.CANCELLED, at)


def cancel(unit: WriteUnit, job_id: str, *, at: datetime) -> JobRecord:
    """Cancel a queued job at once; ask the worker of a running one to stop.

    Raises NotFound, or Conflict when it is finished.
    """
    job = get(unit, job_id)
    JOBS.check(job.status, JobStatus.CANCELLED)
    if job.status is JobStatus.QUEUED:
        left = _leave(unit, job, JobStatus.CANCELLED, at, cancel_requested=True)
        if left is not None:
            return left
    asked = update(_job).where(_job.c.id == job_id, _job.c.status == JobStatus.RUNNING)
    if not unit.execute(asked.values(cancel_requested=True)).rowcount:
        raise Conflict(f"job {job_id} is {get(unit, job_id).status}", code="job-state")
    return get(unit, job_id)


def retry(unit: WriteUnit, job_id: str, *, at: datetime) -> JobRecord:
    """Queue a failed or cancelled job with all its attempts again. Raises NotFound, Conflict."""
    job = get(unit, job_id)
    JOBS.check(job.status, JobStatus.QUEUED)
    if job.status is JobStatus.RUNNING:
        raise Conflict(f"job {job_id} is running", code="job-state", hint="cancel it first")
    fresh = {"attempts": 0, "cancel_requested": False, "error": None, "run_after": at}
    if _leave(unit, job, JobStatus.QUEUED, at, progress=None, **fresh) is None:
        raise Conflict(f"job {job_id} is {get(unit, job_id).status}", code="job-state")
    return get(unit, job_id)


def _lost(at: datetime) -> Any:
    return and_(_job.c.status == JobStatus.RUNNING, _job.c.lease_until < at)


def _after_loss(job: JobRecord) -> JobStatus:
    if job.cancel_requested:
        return JobStatus.CANCELLED
    return JobStatus.QUEUED if job.attempts < job.max_attempts else JobStatus.FAILED


def _held(job: JobRecord) -> Any:
    """An UPDATE of the job that touches nothing unless it is as the caller knows it."""
    held = and_(_job.c.id == job.id, _job.c.status == job.status)
    return update(_job).where(held, _job.c.lease_owner.is_not_distinct_from(job.lease))


def _leave(
    unit: WriteUnit, job: JobRecord, status: JobStatus, at: datetime, **values: Any
) -> JobRecord | None:
    """Move the job on by compare-and-set; None when somebody else was first."""
    final = status is not JobStatus.QUEUED
    moved = _held(job).values(
        status=status,
        lease_owner=None,
        lease_until=None,
        finished_at=at if final else None,
        **values,
    )
    return get(unit, job.id) if unit.execute(moved).rowcount else None


def _record(row: Row[Any]) -> JobRecord:
    return JobRecord(
        id=row.id,
        name=row.name,
        arguments=row.arguments,
        status=JobStatus(row.status),
        attempts=row.attempts,
        max_attempts=row.max_attempts,
        run_after=row.run_after,
        lease=row.lease_owner,
        lease_until=row.lease_until,
        cancel_requested=row.cancel_requested,
        progress=None if row.progress is None else Progress(**row.progress),
        result=row.result,
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
