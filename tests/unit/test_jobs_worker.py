"""The worker: what becomes of a job whose handler returns, raises, stops or outlives its lease."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Conflict, Invalid, Unavailable
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.jobs import handler as handlers_module
from inhouse.jobs import queue
from inhouse.jobs.handler import Handler, JobContext, Stopped, StopReason, retry_delay
from inhouse.jobs.queue import JobRecord
from inhouse.jobs.worker import Timing, Worker
from inhouse.testing.clock import FrozenClock

CLOCK = SystemClock()
WAIT_S = 60.0
QUICK = Timing(lease_s=30.0, heartbeat_s=0.02, poll_s=0.02, backoff_s=0.0)


def add(database: Database, **arguments: Any) -> str:
    with database.write() as unit:
        return queue.enqueue(unit, "task", arguments, at=CLOCK.now()).id


def read(database: Database, job_id: str) -> JobRecord:
    with database.read() as unit:
        return queue.get(unit, job_id)


def worker(
    database: Database, handler: Handler, *, timing: Timing = QUICK, threads: int = 1
) -> Worker:
    return Worker(
        database, {"task": handler}, clock=CLOCK, name="test", threads=threads, timing=timing
    )


class Following:
    """A handler that notes how its jobs stood whenever it was told."""

    def __init__(self, run: Handler) -> None:
        self.run = run
        self.told: list[tuple[str, str | None]] = []

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any] | None:
        return self.run(job, arguments)

    def follow(self, unit: WriteUnit, job: JobRecord, at: datetime) -> None:
        self.told.append((job.status, job.error))


def raising(error: Exception) -> Handler:
    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        raise error

    return run


def test_a_job_runs_with_its_arguments_and_its_result_is_kept(sqlite_database: Database) -> None:
    def double(job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
        job.progress(1, 2, "half")
        return {"twice": arguments["n"] * 2}

    job_id = add(sqlite_database, n=21)
    done = worker(sqlite_database, double).run_next()
    assert done is not None
    assert (done.id, done.status, done.result) == (job_id, JobStatus.DONE, {"twice": 42})
    assert done.progress is not None
    assert (done.progress.done, done.progress.note) == (1, "half")
    assert worker(sqlite_database, double).run_next() is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (Invalid("no such label", hint="add one"), JobStatus.FAILED),
        (BackendError("refused"), JobStatus.FAILED),
        (BackendError("busy", retryable=True), JobStatus.QUEUED),
        (Unavailable("later", retry_after=0.0), JobStatus.QUEUED),
        (ZeroDivisionError("oops"), JobStatus.QUEUED),
    ],
)
def test_errors_decide_whether_a_job_is_tried_again(
    sqlite_database: Database, error: Exception, status: JobStatus
) -> None:
    add(sqlite_database)
    follower = Following(raising(error))
    left = worker(sqlite_database, follower).run_next()
    assert left is not None
    assert left.status is status
    assert left.error is not None
    assert str(error) in left.error
    assert follower.told == [(status, left.error)]


def test_pauses_double_and_an_error_may_ask_for_longer() -> None:
    assert [retry_delay(OSError(), n, 5.0) for n in (1, 2, 3)] == [5.0, 10.0, 20.0]
    assert retry_delay(Unavailable("x", retry_after=60.0), 1, 5.0) == 60.0
    assert retry_delay(Invalid("x"), 1, 5.0) is None


def test_a_failing_job_fails_for_good_after_its_attempts(sqlite_database: Database) -> None:
    job_id = add(sqlite_database)
    running = worker(sqlite_database, raising(OSError("disk")))
    for _ in range(queue.MAX_ATTEMPTS):
        assert running.run_next() is not None
    assert running.run_next() is None
    left = read(sqlite_database, job_id)
    assert (left.status, left.error) == (JobStatus.FAILED, "OSError: disk")


def until_stopped(started: threading.Event) -> Handler:
    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        started.set()
        assert job.wait(WAIT_S)
        raise Stopped

    return run


def test_a_running_job_is_cancelled_on_request(sqlite_database: Database) -> None:
    started = threading.Event()
    follower = Following(until_stopped(started))
    job_id = add(sqlite_database)
    running = worker(sqlite_database, follower)
    running.start()
    assert started.wait(WAIT_S)
    with sqlite_database.write() as unit:
        handlers_module.cancel(unit, {"task": follower}, job_id, at=CLOCK.now())
    assert running.stop(timeout_s=WAIT_S)
    assert read(sqlite_database, job_id).status is JobStatus.CANCELLED
    assert follower.told == [("cancelled", None)]


def test_a_queued_job_is_cancelled_and_retried_with_its_follower_told(
    sqlite_database: Database,
) -> None:
    follower = Following(raising(OSError()))
    job_id = add(sqlite_database)
    with sqlite_database.write() as unit:
        handlers_module.cancel(unit, {"task": follower}, job_id, at=CLOCK.now())
        handlers_module.retry(unit, {"task": follower}, job_id, at=CLOCK.now())
    assert [status for status, _ in follower.told] == ["cancelled", "queued"]


def test_stopping_lets_a_short_job_finish(sqlite_database: Database) -> None:
    started, go = threading.Event(), threading.Event()

    def run(job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
        started.set()
        assert go.wait(WAIT_S)
        return {"cancelled": job.cancelled()}

    job_id = add(sqlite_database)
    running = worker(sqlite_database, run)
    running.start()
    assert started.wait(WAIT_S)
    threading.Timer(0.05, go.set).start()
    assert running.stop(timeout_s=WAIT_S)
    assert read(sqlite_database, job_id).result == {"cancelled": False}


def test_stopping_gives_a_long_job_back(sqlite_database: Database) -> None:
    started = threading.Event()
    job_id = add(sqlite_database)
    running = worker(sqlite_database, until_stopped(started))
    running.start()
    assert started.wait(WAIT_S)
    assert running.stop(timeout_s=0.0, grace_s=WAIT_S)
    left = read(sqlite_database, job_id)
    assert (left.status, left.attempts, left.lease) == (JobStatus.QUEUED, 0, None)


def test_a_stopped_worker_claims_nothing(sqlite_database: Database) -> None:
    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        running.drain()

    first, second = add(sqlite_database), add(sqlite_database)
    running = worker(sqlite_database, run)
    running.start()
    assert until(lambda: read(sqlite_database, first).is_final)
    assert running.stop(timeout_s=WAIT_S)
    assert read(sqlite_database, second).status is JobStatus.QUEUED


def test_a_handler_hears_that_it_lost_its_lease_and_changes_nothing(
    sqlite_database: Database,
) -> None:
    reasons: list[StopReason | None] = []

    def run(job: JobContext, arguments: dict[str, Any]) -> dict[str, Any]:
        with sqlite_database.write() as unit:
            assert queue.release(unit, job.record, at=CLOCK.now())
            assert queue.claim(unit, ["task"], "thief", at=CLOCK.now())
        assert job.wait(WAIT_S)
        reasons.append(job.stop_reason)
        job.progress(5, 5, "not mine")
        return {"mine": True}

    job_id = add(sqlite_database)
    left = worker(sqlite_database, run).run_next()
    assert left is not None
    assert reasons == [StopReason.LOST]
    assert (left.status, left.result, left.progress) == (JobStatus.RUNNING, None, None)
    assert left.lease is not None
    assert left.lease.startswith("thief/")
    assert read(sqlite_database, job_id).attempts == 1


def test_a_long_job_keeps_its_lease(sqlite_database: Database) -> None:
    leases: list[datetime | None] = []

    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        first = job.record.lease_until
        assert first is not None
        assert until(lambda: (now := lease_of(job)) is not None and now > first)
        leases.append(lease_of(job))

    def lease_of(job: JobContext) -> datetime | None:
        return read(sqlite_database, job.record.id).lease_until

    add(sqlite_database)
    left = worker(sqlite_database, run).run_next()
    assert left is not None
    assert left.status is JobStatus.DONE
    assert len(leases) == 1


def test_several_threads_share_the_queue(sqlite_database: Database) -> None:
    both = threading.Barrier(2, timeout=WAIT_S)

    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        both.wait()

    ids = [add(sqlite_database) for _ in range(4)]
    running = worker(sqlite_database, run, threads=2)
    running.start()
    assert until(lambda: all(read(sqlite_database, i).status == "done" for i in ids))
    assert running.stop(timeout_s=WAIT_S)


def test_a_woken_worker_does_not_wait_for_its_next_look(sqlite_database: Database) -> None:
    ran = threading.Event()

    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        ran.set()

    running = worker(sqlite_database, run, timing=Timing(poll_s=600.0, heartbeat_s=600.0))
    running.start()
    add(sqlite_database)
    assert until(lambda: (running.wake(), ran.is_set())[1])
    assert running.stop(timeout_s=WAIT_S)


@pytest.mark.parametrize("kind", [OSError, Unavailable])
def test_a_worker_survives_a_database_that_fails_and_says_so_once(
    sqlite_database: Database,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    kind: Callable[[str], Exception],
) -> None:
    ran = threading.Event()

    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        ran.set()

    real, failures = queue.has_work, iter([kind("gone"), kind("gone")])

    def flaky(*args: Any, **more: Any) -> bool:
        error = next(failures, None)
        if error is not None:
            raise error
        return real(*args, **more)

    monkeypatch.setattr(queue, "has_work", flaky)
    add(sqlite_database)
    running = worker(sqlite_database, run)
    running.start()
    assert ran.wait(WAIT_S)
    assert running.stop(timeout_s=WAIT_S)
    (said,) = [one for one in caplog.records if one.message == "worker-failed"]
    assert (said.exc_info is None) == (kind is Unavailable)


def test_a_follower_that_fails_keeps_no_other_job_waiting(sqlite_database: Database) -> None:
    class Broken(Following):
        def follow(self, unit: WriteUnit, job: JobRecord, at: datetime) -> None:
            if job.id == broken:
                raise OSError("no")

    broken, lost, other = (add(sqlite_database) for _ in range(3))
    with sqlite_database.write() as unit:
        for job_id in (broken, lost):
            queue.claim(unit, ["task"], "gone", at=CLOCK.now(), lease_s=-1.0, job_id=job_id)
    running = worker(sqlite_database, Broken(lambda *_: {}))
    done = [left.id for left in (running.run_next(), running.run_next()) if left is not None]
    assert sorted(done) == sorted([lost, other])
    assert read(sqlite_database, broken).status is JobStatus.RUNNING


def test_a_handler_may_refuse_a_retry(sqlite_database: Database) -> None:
    class Over(Following):
        def check_retry(self, unit: ReadUnit, job: JobRecord) -> None:
            raise Conflict("it is over")

    job_id, over = add(sqlite_database), Over(raising(Invalid("no")))
    assert worker(sqlite_database, over).run_next() is not None
    with pytest.raises(Conflict, match="it is over"), sqlite_database.write() as unit:
        handlers_module.retry(unit, {"task": over}, job_id, at=CLOCK.now())
    assert read(sqlite_database, job_id).status is JobStatus.FAILED
    assert [status for status, _ in over.told] == ["failed"]


def test_due_times_follow_the_clock_that_is_passed_in(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        due = clock.now().replace(hour=6)
        queue.enqueue(unit, "task", {}, at=clock.now(), run_after=due)
    running = Worker(sqlite_database, {"task": lambda *_: {}}, clock=clock, name="frozen")
    assert running.run_next() is None
    clock.advance(6 * 3600)
    assert running.run_next() is not None


def until(condition: Callable[[], bool]) -> bool:
    """Wait for a condition, at most ``WAIT_S``; whether it came true."""
    deadline, pause = CLOCK.monotonic() + WAIT_S, threading.Event()
    while not condition():
        if CLOCK.monotonic() > deadline:
            return False
        pause.wait(0.01)
    return True
