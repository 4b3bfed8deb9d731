"""The queue's states: claims, leases, retries, cancelling."""

from __future__ import annotations

import pytest

from inhouse.core.errors import Conflict, NotFound
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.jobs import queue
from inhouse.jobs.queue import JobRecord, Progress
from inhouse.testing.clock import FrozenClock

NAMES = ("echo", "train")


def add(database: Database, clock: FrozenClock, name: str = "echo", **more: object) -> JobRecord:
    with database.write() as unit:
        return queue.enqueue(unit, name, {"n": 1}, at=clock.now(), **more)


def claim(database: Database, clock: FrozenClock, worker: str = "w") -> JobRecord | None:
    with database.write() as unit:
        return queue.claim(unit, NAMES, worker, at=clock.now())


def read(database: Database, job_id: str) -> JobRecord:
    with database.read() as unit:
        return queue.get(unit, job_id)


def test_claims_go_by_due_time_and_only_once(sqlite_database: Database, clock: FrozenClock) -> None:
    later = add(sqlite_database, clock, run_after=clock.now().replace(hour=1))
    clock.advance(1)
    first = add(sqlite_database, clock)
    second = add(sqlite_database, clock)
    got = [claim(sqlite_database, clock) for _ in range(3)]
    assert [job.id if job else None for job in got] == [first.id, second.id, None]
    clock.advance(3600)
    due = claim(sqlite_database, clock)
    assert due is not None
    assert due.id == later.id
    assert (due.status, due.attempts) == (JobStatus.RUNNING, 1)
    assert due.started_at == clock.now()


def test_a_worker_claims_only_names_it_knows(sqlite_database: Database, clock: FrozenClock) -> None:
    add(sqlite_database, clock, name="unknown")
    assert claim(sqlite_database, clock) is None
    with sqlite_database.read() as unit:
        assert not queue.has_work(unit, NAMES, at=clock.now())
        assert queue.has_work(unit, ["unknown"], at=clock.now())


def test_a_given_job_can_be_claimed_out_of_turn(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    add(sqlite_database, clock)
    wanted = add(sqlite_database, clock)
    with sqlite_database.write() as unit:
        job = queue.claim(unit, NAMES, "w", at=clock.now(), job_id=wanted.id)
        assert queue.claim(unit, NAMES, "w", at=clock.now(), job_id=wanted.id) is None
    assert job is not None
    assert job.id == wanted.id


def test_done_keeps_result_and_progress(sqlite_database: Database, clock: FrozenClock) -> None:
    add(sqlite_database, clock)
    job = claim(sqlite_database, clock)
    assert job is not None
    with sqlite_database.write() as unit:
        assert queue.set_progress(unit, job, Progress(done=3, total=4, note="fitting"))
        done = queue.finish(unit, job, {"answer": 42}, at=clock.now())
    assert done is not None
    assert (done.status, done.result, done.is_final) == (JobStatus.DONE, {"answer": 42}, True)
    assert done.progress == Progress(done=3, total=4, note="fitting")
    assert done.finished_at == clock.now()


def test_a_lost_lease_is_taken_up_by_another_and_the_first_can_change_nothing(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    add(sqlite_database, clock)
    first = claim(sqlite_database, clock, "a")
    assert first is not None
    clock.advance(queue.LEASE_SECONDS - 1)
    with sqlite_database.write() as unit:
        assert queue.renew(unit, first, at=clock.now())
    clock.advance(queue.LEASE_SECONDS - 1)
    with sqlite_database.write() as unit:
        assert queue.lost(unit, NAMES, at=clock.now()) == []
        assert queue.release_lost(unit, first.id, at=clock.now()) is None
    clock.advance(2)
    with sqlite_database.write() as unit:
        assert queue.lost(unit, ["another"], at=clock.now()) == []
        assert queue.lost(unit, NAMES, at=clock.now()) == [first.id]
        lost = queue.release_lost(unit, first.id, at=clock.now())
    assert lost is not None
    assert lost.status is JobStatus.QUEUED
    second = claim(sqlite_database, clock, "b")
    assert second is not None
    assert (second.id, second.attempts) == (first.id, 2)
    with sqlite_database.write() as unit:
        assert not queue.renew(unit, first, at=clock.now())
        assert not queue.holds(unit, first)
        assert not queue.set_progress(unit, first, Progress(done=9, total=9))
        assert queue.finish(unit, first, {"who": "a"}, at=clock.now()) is None
        assert queue.fail(unit, first, "a", at=clock.now()) is None
        assert queue.release(unit, first, at=clock.now()) is None
        assert queue.holds(unit, second)
        assert queue.finish(unit, second, {"who": "b"}, at=clock.now()) is not None
    assert read(sqlite_database, first.id).result == {"who": "b"}


def test_a_job_that_kills_its_workers_fails_at_last(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    added = add(sqlite_database, clock, max_attempts=2)
    for _ in range(2):
        assert claim(sqlite_database, clock) is not None
        clock.advance(queue.LEASE_SECONDS + 1)
        with sqlite_database.write() as unit:
            assert queue.release_lost(unit, added.id, at=clock.now()) is not None
    failed = read(sqlite_database, added.id)
    assert (failed.status, failed.error) == (JobStatus.FAILED, queue.LOST)


def test_a_lost_job_that_was_to_be_cancelled_is_not_started_again(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    job = add(sqlite_database, clock)
    claim(sqlite_database, clock)
    with sqlite_database.write() as unit:
        assert queue.cancel(unit, job.id, at=clock.now()).status is JobStatus.RUNNING
    clock.advance(queue.LEASE_SECONDS + 1)
    with sqlite_database.write() as unit:
        lost = queue.release_lost(unit, job.id, at=clock.now())
    assert lost is not None
    assert lost.status is JobStatus.CANCELLED


def test_failures_are_tried_again_until_attempts_run_out(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    add(sqlite_database, clock, max_attempts=2)
    first = claim(sqlite_database, clock)
    assert first is not None
    with sqlite_database.write() as unit:
        again = queue.fail(unit, first, "disk full", at=clock.now(), retry_in_s=5)
    assert again is not None
    assert (again.status, again.error) == (JobStatus.QUEUED, "disk full")
    assert claim(sqlite_database, clock) is None
    clock.advance(5)
    second = claim(sqlite_database, clock)
    assert second is not None
    assert second.error is None
    with sqlite_database.write() as unit:
        last = queue.fail(unit, second, "disk full", at=clock.now(), retry_in_s=5)
    assert last is not None
    assert last.status is JobStatus.FAILED


def test_released_work_costs_no_attempt(sqlite_database: Database, clock: FrozenClock) -> None:
    add(sqlite_database, clock)
    job = claim(sqlite_database, clock)
    assert job is not None
    with sqlite_database.write() as unit:
        released = queue.release(unit, job, at=clock.now())
    assert released is not None
    assert (released.status, released.attempts) == (JobStatus.QUEUED, 0)


def test_cancel_is_at_once_for_queued_and_a_wish_for_running(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    running, queued = add(sqlite_database, clock), add(sqlite_database, clock)
    held = claim(sqlite_database, clock)
    assert held is not None
    with sqlite_database.write() as unit:
        assert queue.cancel(unit, queued.id, at=clock.now()).status is JobStatus.CANCELLED
        asked = queue.cancel(unit, running.id, at=clock.now())
        assert (asked.status, asked.cancel_requested) == (JobStatus.RUNNING, True)
        stopped = queue.stopped(unit, held, at=clock.now())
        assert stopped is not None
        assert stopped.status is JobStatus.CANCELLED
        with pytest.raises(Conflict):
            queue.cancel(unit, running.id, at=clock.now())


def test_retry_starts_afresh(sqlite_database: Database, clock: FrozenClock) -> None:
    job = add(sqlite_database, clock, max_attempts=1)
    held = claim(sqlite_database, clock)
    assert held is not None
    with sqlite_database.write() as unit:
        with pytest.raises(Conflict):
            queue.retry(unit, job.id, at=clock.now())
        queue.fail(unit, held, "no", at=clock.now(), retry_in_s=1)
        again = queue.retry(unit, job.id, at=clock.now())
        assert (again.status, again.attempts, again.error) == (JobStatus.QUEUED, 0, None)
        with pytest.raises(Conflict):
            queue.retry(unit, job.id, at=clock.now())
    assert claim(sqlite_database, clock) is not None


def test_listing_is_newest_first_and_filtered(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    added = []
    for name in ("echo", "train", "echo"):
        added.append(add(sqlite_database, clock, name=name).id)
        clock.advance(1)
    claim(sqlite_database, clock)
    with sqlite_database.read() as unit:
        assert [job.id for job in queue.list_jobs(unit)] == added[::-1]
        assert [job.id for job in queue.list_jobs(unit, name="train")] == [added[1]]
        assert [job.id for job in queue.list_jobs(unit, status=JobStatus.RUNNING)] == [added[0]]
        assert [job.id for job in queue.list_jobs(unit, limit=1)] == [added[2]]


def test_unknown_jobs_are_not_found(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        for verb in (queue.cancel, queue.retry):
            with pytest.raises(NotFound, match="there is no job"):
                verb(unit, "nope", at=clock.now())
