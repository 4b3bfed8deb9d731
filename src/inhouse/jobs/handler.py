"""What runs a job, and what it may say and ask while it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError, InhouseError, Unavailable
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.jobs import queue
from inhouse.jobs.queue import JobRecord, Progress


class StopReason(StrEnum):
    """Why a handler should stop before it is done."""

    CANCEL = "cancel"
    """Somebody asked for it: the job becomes cancelled."""
    DRAIN = "drain"
    """The worker shuts down: the job goes back to the queue."""
    LOST = "lost"
    """The lease is gone: another worker has the job, and nothing said here counts any more."""


class Stopped(Exception):
    """Raised by a handler that stopped because ``JobContext.cancelled()`` said so."""


class JobContext:
    """A running job as its handler sees it. Safe to use from several threads."""

    def __init__(self, database: Database, clock: Clock, record: JobRecord) -> None:
        self.record = record
        self._database = database
        self._clock = clock
        self._reason: StopReason | None = None
        self._stop = threading.Event()

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the handler should stop now; None while it should go on."""
        return self._reason

    def cancelled(self) -> bool:
        """Whether the handler should clean up and raise ``Stopped``; see ``stop_reason``."""
        return self._stop.is_set()

    def check(self) -> None:
        """Raise ``Stopped`` if the handler should stop."""
        if self._stop.is_set():
            raise Stopped

    def wait(self, seconds: float) -> bool:
        """Sleep until the handler should stop, at most ``seconds``; whether it should."""
        return self._stop.wait(seconds)

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Store how far the job is: ``done`` of ``total`` steps (0: not known)."""
        with self._database.write() as unit:
            self.progress_in(unit, Progress(done=done, total=total, note=note))

    def progress_in(self, unit: WriteUnit, progress: Progress) -> None:
        """The same inside a transaction of the handler."""
        if not queue.set_progress(unit, self.record, progress):
            self.stop(StopReason.LOST)

    def stop(self, reason: StopReason) -> None:
        """Ask the handler to stop. A lost lease outranks the other reasons."""
        if self._reason is None or reason is StopReason.LOST:
            self._reason = reason
        self._stop.set()


Handler = Callable[[JobContext, dict[str, Any]], Mapping[str, Any] | None]
"""Runs a job with its arguments and returns its result. It raises ``Stopped`` when it was asked to
stop. ``Unavailable``, a retryable ``BackendError`` and errors that are not ours are tried again
while attempts are left; any other ``InhouseError`` fails the job at once. It may run more than once
for one job (a worker can die between its last step and the note that it is done), so it must be
safe to repeat."""


@runtime_checkable
class Follower(Protocol):
    """A handler that keeps a state of its own in step with the job's."""

    def follow(self, unit: WriteUnit, job: JobRecord, at: datetime) -> None:
        """The job left ``running`` without being done, or was cancelled or retried: in this same
        transaction. What it raises keeps the job as it was, so it raises for nothing that the
        handler can repeat."""
        ...


@runtime_checkable
class Retried(Protocol):
    """A handler whose jobs a person may not always retry."""

    def check_retry(self, unit: ReadUnit, job: JobRecord) -> None:
        """Raise Conflict when the job cannot start again."""
        ...


def tell(
    unit: WriteUnit, handlers: Mapping[str, Handler], job: JobRecord | None, at: datetime
) -> None:
    """Let the handler of a job, if it follows, know how the job stands."""
    handler = handlers.get(job.name) if job is not None else None
    if job is not None and isinstance(handler, Follower):
        handler.follow(unit, job, at)


def cancel(
    unit: WriteUnit, handlers: Mapping[str, Handler], job_id: str, *, at: datetime
) -> JobRecord:
    """``queue.cancel``, and the handler knows when the job is cancelled at once."""
    job = queue.cancel(unit, job_id, at=at)
    if job.is_final:
        tell(unit, handlers, job, at)
    return job


def retry(
    unit: WriteUnit, handlers: Mapping[str, Handler], job_id: str, *, at: datetime
) -> JobRecord:
    """``queue.retry``, and the handler knows. Raises Conflict also when it cannot start again."""
    job = queue.retry(unit, job_id, at=at)
    handler = handlers.get(job.name)
    if isinstance(handler, Retried):
        handler.check_retry(unit, job)
    tell(unit, handlers, job, at)
    return job


def retry_delay(error: BaseException, attempts: int, backoff_s: float) -> float | None:
    """Seconds until another try of a job that failed with ``error`` makes sense; None for never.

    Doubles with every attempt, or is what the error itself asks for.
    """
    delay = backoff_s * 2.0 ** (attempts - 1)
    match error:
        case Unavailable():
            return max(delay, error.retry_after)
        case BackendError():
            return max(delay, error.retry_after or 0.0) if error.retryable else None
        case InhouseError():
            return None
        case _:
            return delay


def describe(error: BaseException) -> str:
    """One line for what went wrong, with what to do next."""
    if isinstance(error, InhouseError):
        return f"{error.message} ({error.hint})" if error.hint else error.message
    return f"{type(error).__name__}: {error}"
