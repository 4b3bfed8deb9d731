"""Pausing all background work, and work that comes again."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest

from inhouse.core.errors import Conflict
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.jobs import pause, queue, schedule
from inhouse.jobs.worker import Worker
from inhouse.testing.clock import FrozenClock

DAY = timedelta(days=1)


def test_a_pause_is_seen_by_every_worker_and_kept_once(
    database: Database, clock: FrozenClock
) -> None:
    worker = Worker(database, {"task": lambda *_: {}}, clock=clock, name="one")
    with database.write() as unit:
        job = queue.enqueue(unit, "task", {}, at=clock.now())
        first = pause.pause(unit, actor="ada", reason="maintenance", at=clock.now())
        again = pause.pause(unit, actor="bob", reason="", at=clock.now())
        with pytest.raises(Conflict, match="ada paused all background work: maintenance"):
            pause.check(unit)
    assert first == again
    assert (first.actor, first.reason, first.at) == ("ada", "maintenance", clock.now())
    assert worker.run_next() is None
    with database.write() as unit:
        assert pause.resume(unit)
        assert not pause.resume(unit)
        assert pause.paused(unit) is None
        pause.check(unit)
    done = worker.run_next()
    assert done is not None
    assert (done.id, done.status) == (job.id, JobStatus.DONE)


def test_a_job_that_a_person_waits_for_runs_during_a_pause(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    worker = Worker(sqlite_database, {"task": lambda *_: {}}, clock=clock, name="one")
    with sqlite_database.write() as unit:
        job = queue.enqueue(unit, "task", {}, at=clock.now())
        pause.pause(unit, actor="ada", reason="", at=clock.now())
    done = worker.run_next(job.id)
    assert done is not None
    assert done.status is JobStatus.DONE


def take(database: Database, clock: FrozenClock) -> bool:
    with database.write() as unit:
        due = schedule.is_due(unit, "chore", DAY, at=clock.now())
        taken = schedule.take(unit, "chore", DAY, at=clock.now())
    assert due or not taken
    return taken


def test_the_first_look_begins_the_interval(database: Database, clock: FrozenClock) -> None:
    assert not take(database, clock)
    clock.advance(86_399)
    assert not take(database, clock)
    clock.advance(1)
    assert take(database, clock)
    assert not take(database, clock)
    clock.advance(5 * 86_400)
    assert take(database, clock)
    assert not take(database, clock)


def test_a_clock_that_was_ahead_begins_the_interval_anew(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    clock.advance(10**8)
    assert not take(sqlite_database, clock)
    clock.advance(-(10**8))
    assert not take(sqlite_database, clock)
    clock.advance(86_400)
    assert take(sqlite_database, clock)


def test_of_many_at_once_one_begins_it(database: Database, clock: FrozenClock) -> None:
    take(database, clock)
    clock.advance(86_400)
    ready, taken = threading.Barrier(4), []

    def race() -> None:
        ready.wait(30)
        taken.append(take(database, clock))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == [False, False, False, True]
