"""Threads that work the queue off, and one that keeps their leases.

Any number of workers may share a database, in one process or on many machines whose clocks agree to
well within a lease. A worker that is killed simply stops renewing: its jobs are taken up by another
one when the lease runs out.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from inhouse.core.clock import Clock
from inhouse.core.errors import InhouseError
from inhouse.core.log import Log
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.jobs import metrics, queue
from inhouse.jobs import pause as pausing
from inhouse.jobs.handler import (
    Handler,
    JobContext,
    Stopped,
    StopReason,
    describe,
    retry_delay,
    tell,
)
from inhouse.jobs.queue import JobRecord

_log = Log(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Seconds: how long a lease lasts, how often it is renewed, how often the queue and the wish to
    cancel are looked at, and the first pause before a failed job is tried again."""

    lease_s: float = queue.LEASE_SECONDS
    heartbeat_s: float = 10.0
    poll_s: float = 1.0
    backoff_s: float = 5.0


class Worker:
    """Runs the jobs whose names ``handlers`` knows.

    ``name`` tells people which process holds a job. Use ``start`` and ``stop``, or ``run_next`` to
    run one job in the calling thread.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        clock: Clock,
        name: str,
        threads: int = 1,
        timing: Timing | None = None,
    ) -> None:
        self.name = name
        self._database = database
        self._handlers = handlers
        self._clock = clock
        self._timing = timing or Timing()
        self._running: dict[str, JobContext] = {}
        self._lock = threading.Lock()
        self._failing = False
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{n}", daemon=True)
            for n in range(1, threads + 1)
        ]

    def start(self) -> None:
        """Start the threads. Jobs of workers that died are taken up as their leases run out."""
        for thread in self._threads:
            thread.start()

    def drain(self) -> None:
        """Take no more jobs, and do not wait for the running ones."""
        self._stopping.set()
        self._wake.set()

    def stop(self, *, timeout_s: float = 30.0, grace_s: float = 10.0) -> bool:
        """Take no more jobs; let the running ones finish for ``timeout_s`` seconds, then ask them
        to stop and give them back to the queue within ``grace_s``. Whether all threads ended.

        A job that does neither keeps its lease until it runs out.
        """
        self.drain()
        deadline = self._clock.monotonic() + timeout_s
        self._join(deadline)
        with self._lock:
            for context in self._running.values():
                context.stop(StopReason.DRAIN)
        self._join(max(deadline, self._clock.monotonic()) + grace_s)
        return not any(thread.is_alive() for thread in self._threads)

    def wake(self) -> None:
        """Look at the queue now: a job was added in this process."""
        self._wake.set()

    def run_next(self, job_id: str | None = None) -> JobRecord | None:
        """Claim the next due job (or exactly ``job_id``) and run it here, to its end.

        The job as it is afterwards, or None when there was nothing to claim. While jobs are paused
        only a job that is named is claimed: a person waits for it.
        """
        job = self._claim(job_id)
        if job is None:
            return None
        context = JobContext(self._database, self._clock, job)
        with self._lock:
            self._running[job.id] = context
        done = threading.Event()
        keeper = threading.Thread(
            target=self._keep, args=(context, done), name=f"{self.name}-keeper", daemon=True
        )
        keeper.start()
        try:
            self._run(context)
        finally:
            done.set()
            keeper.join()
            with self._lock:
                del self._running[job.id]
        with self._database.read() as unit:
            return queue.get(unit, job.id)

    def _join(self, deadline: float) -> None:
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, deadline - self._clock.monotonic()))

    def _work(self) -> None:
        while not self._stopping.is_set():
            if not self._try_next():
                self._wake.wait(self._timing.poll_s)
                self._wake.clear()
        self._wake.set()

    def _try_next(self) -> bool:
        """Whether there was a job; a database that does not answer counts as no job, and is logged
        the first time of several in a row."""
        try:
            found = self.run_next() is not None
        except Exception as error:  # noqa: BLE001  a worker's thread must not die
            if not self._failing:
                _complain("worker-failed", error, worker=self.name)
            self._failing = True
            return False
        self._failing = False
        return found

    def _claim(self, job_id: str | None) -> JobRecord | None:
        now = self._clock.now()
        with self._database.read() as unit:
            if not queue.has_work(unit, self._handlers.keys(), at=now):
                return None
            if job_id is None and pausing.paused(unit) is not None:
                return None
            lost = queue.lost(unit, self._handlers.keys(), at=now)
        self._release_lost(lost, now)
        with self._database.write() as unit:
            return queue.claim(
                unit,
                self._handlers.keys(),
                self.name,
                at=now,
                lease_s=self._timing.lease_s,
                job_id=job_id,
            )

    def _release_lost(self, lost: Sequence[str], now: datetime) -> None:
        for job_id in lost:
            try:
                self._release(job_id, now)
            except Exception as error:  # noqa: BLE001  other jobs must not wait for it
                _log.unforeseen("release-failed", error, worker=self.name, job=job_id)

    def _release(self, job_id: str, now: datetime) -> None:
        with self._database.write() as unit:
            left = queue.release_lost(unit, job_id, at=now)
            tell(unit, self._handlers, left, now)
        if left is not None:
            _log.warning("job-lost", job=left.id, name=left.name, status=left.status)

    def _keep(self, context: JobContext, done: threading.Event) -> None:
        """Renew the lease and look for a wish to cancel until the job ends."""
        renewed = self._clock.monotonic()
        failing = False
        while not done.wait(min(self._timing.poll_s, self._timing.heartbeat_s)):
            try:
                self._look(context)
                if self._clock.monotonic() - renewed >= self._timing.heartbeat_s:
                    renewed = self._clock.monotonic()
                    self._renew(context)
                failing = False
            except Exception as error:  # noqa: BLE001  the next round tries again
                if not failing:
                    _complain("heartbeat-failed", error, job=context.record.id)
                failing = True

    def _look(self, context: JobContext) -> None:
        with self._database.read() as unit:
            now = queue.get(unit, context.record.id)
        if now.lease != context.record.lease:
            context.stop(StopReason.LOST)
        elif now.cancel_requested:
            context.stop(StopReason.CANCEL)

    def _renew(self, context: JobContext) -> None:
        now, lease = self._clock.now(), self._timing.lease_s
        with self._database.write() as unit:
            if not queue.renew(unit, context.record, at=now, lease_s=lease):
                context.stop(StopReason.LOST)

    def _run(self, context: JobContext) -> None:
        job = context.record
        started = self._clock.monotonic()
        _log.info("job-started", job=job.id, name=job.name, attempt=job.attempts)
        try:
            result = self._handlers[job.name](context, dict(job.arguments))
        except Stopped:
            left = self._stopped(context)
        except Exception as error:  # noqa: BLE001  the boundary of a job
            left = self._failed(context, error)
        else:
            with self._database.write() as unit:
                left = queue.finish(unit, job, result, at=self._clock.now())
        seconds = self._clock.monotonic() - started
        status = left.status if left is not None else "lost"
        metrics.ended(job.name, status, seconds)
        _log.info("job-ended", job=job.id, name=job.name, status=status, seconds=round(seconds, 3))

    def _stopped(self, context: JobContext) -> JobRecord | None:
        job, now = context.record, self._clock.now()
        with self._database.write() as unit:
            if context.stop_reason is StopReason.CANCEL:
                left = queue.stopped(unit, job, at=now)
            else:
                left = queue.release(unit, job, at=now)
            tell(unit, self._handlers, left, now)
        return left

    def _failed(self, context: JobContext, error: Exception) -> JobRecord | None:
        job, now = context.record, self._clock.now()
        if not isinstance(error, InhouseError):
            _log.unforeseen("job-failed", error, job=job.id, name=job.name)
        delay = retry_delay(error, job.attempts, self._timing.backoff_s)
        if context.stop_reason is StopReason.CANCEL:
            delay = None
        with self._database.write() as unit:
            left = queue.fail(unit, job, describe(error), at=now, retry_in_s=delay)
            tell(unit, self._handlers, left, now)
        if left is not None and left.status is JobStatus.QUEUED:
            _log.warning("job-retried", job=job.id, name=job.name, at=left.run_after.isoformat())
        return left


def _complain(event: str, error: Exception, **values: object) -> None:
    """A line; with a traceback only where nobody foresaw the error."""
    if isinstance(error, InhouseError):
        _log.error(event, reason=error.message, **values)
    else:
        _log.unforeseen(event, error, **values)
