"""Workers as real processes on both databases: no claim twice, and kill -9 loses no job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.jobs.queue import JobRecord
from inhouse.jobs.worker import Timing, Worker

CLOCK = SystemClock()
WAIT_S = 60.0
SHORT = Timing(lease_s=1.5, heartbeat_s=0.3, poll_s=0.05)
STEADY_LEASE_S = 4.0
"""So long that a busy machine leaves no live worker without a heartbeat."""

PROGRAM = """
import sys, threading
from inhouse.core.clock import SystemClock
from inhouse.db.unit import Database
from inhouse.jobs.worker import Timing, Worker

def hang(job, arguments):
    job.progress(1, 2, "holding")
    threading.Event().wait()

worker = Worker(
    Database(sys.argv[1]), {"task": hang}, clock=SystemClock(), name="doomed",
    timing=Timing(lease_s=float(sys.argv[2]), heartbeat_s=0.2, poll_s=0.05),
)
worker.start()
threading.Event().wait()
"""


def add(database: Database, **more: Any) -> str:
    with database.write() as unit:
        return queue.enqueue(unit, "task", {}, at=CLOCK.now(), **more).id


def read(database: Database, job_id: str) -> JobRecord:
    with database.read() as unit:
        return queue.get(unit, job_id)


def until(condition: Callable[[], bool]) -> None:
    deadline, pause = CLOCK.monotonic() + WAIT_S, threading.Event()
    while not condition():
        assert CLOCK.monotonic() < deadline, "waited in vain"
        pause.wait(0.02)


def start_doomed(database_url: str, folder: Path, lease_s: float) -> subprocess.Popen[bytes]:
    script = folder / "doomed.py"
    script.write_text(PROGRAM)
    return subprocess.Popen([sys.executable, str(script), database_url, str(lease_s)])


def holding(database: Database, job_id: str) -> bool:
    job = read(database, job_id)
    return job.progress is not None and job.progress.note == "holding"


def test_a_killed_workers_job_is_taken_over_after_the_lease(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    job_id = add(database)
    doomed = start_doomed(database_url, tmp_path, SHORT.lease_s)
    try:
        until(lambda: holding(database, job_id))
        until(lambda: (read(database, job_id).lease_until or CLOCK.now()) > CLOCK.now())
    finally:
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.wait()
    held = read(database, job_id)
    assert (held.status, held.attempts) == (JobStatus.RUNNING, 1)

    def finish(job: JobContext, arguments: dict[str, Any]) -> dict[str, int]:
        return {"attempt": job.record.attempts}

    heir = Worker(database, {"task": finish}, clock=CLOCK, name="heir", timing=SHORT)
    heir.start()
    until(lambda: read(database, job_id).is_final)
    assert heir.stop()
    done = read(database, job_id)
    assert (done.status, done.result) == (JobStatus.DONE, {"attempt": 2})
    assert done.started_at is not None
    assert held.lease_until is not None
    assert done.started_at > held.lease_until, "the lease of the dead worker was honoured"


def test_a_live_worker_keeps_its_job_for_longer_than_a_lease(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    job_id = add(database)
    holder = start_doomed(database_url, tmp_path, STEADY_LEASE_S)
    try:
        until(lambda: holding(database, job_id))
        first = read(database, job_id)
        assert first.lease_until is not None
        thief = Worker(database, {"task": lambda *_: {}}, clock=CLOCK, name="thief", timing=SHORT)
        thief.start()
        ends = first.lease_until + timedelta(seconds=0.5)
        until(lambda: CLOCK.now() > ends)
        assert thief.stop()
        assert read(database, job_id).lease == first.lease
    finally:
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()


def test_many_workers_run_every_job_exactly_once(database: Database) -> None:
    ids = {add(database) for _ in range(60)}
    runs: list[str] = []

    def run(job: JobContext, arguments: dict[str, Any]) -> None:
        runs.append(job.record.id)

    workers = [
        Worker(database, {"task": run}, clock=CLOCK, name=f"w{n}", threads=2) for n in range(4)
    ]
    for each in workers:
        each.start()
    until(lambda: len(runs) >= len(ids) and not waiting(database))
    assert all(each.stop() for each in workers)
    assert sorted(runs) == sorted(ids)


def waiting(database: Database) -> bool:
    with database.read() as unit:
        return any(not job.is_final for job in queue.list_jobs(unit))


def test_concurrent_claims_of_one_job_have_one_winner(database: Database) -> None:
    racers = 8
    barrier = threading.Barrier(racers, timeout=WAIT_S)

    def race(job_id: str) -> JobRecord | None:
        barrier.wait()
        with database.write() as unit:
            return queue.claim(unit, ["task"], "racer", at=CLOCK.now(), job_id=job_id)

    with ThreadPoolExecutor(racers) as pool:
        for _ in range(5):
            job_id = add(database)
            won = [job for job in pool.map(race, [job_id] * racers) if job is not None]
            assert [job.id for job in won] == [job_id]


def test_concurrent_releases_of_lost_jobs_happen_once(database: Database) -> None:
    with database.write() as unit:
        for _ in range(10):
            queue.enqueue(unit, "task", {}, at=CLOCK.now())
        while queue.claim(unit, ["task"], "gone", at=CLOCK.now(), lease_s=-1.0):
            pass
    barrier = threading.Barrier(4, timeout=WAIT_S)

    def release(_: int) -> list[JobRecord]:
        barrier.wait()
        with database.write() as unit:
            lost = queue.lost(unit, ["task"], at=CLOCK.now())
            left = [queue.release_lost(unit, job_id, at=CLOCK.now()) for job_id in lost]
        return [job for job in left if job is not None]

    with ThreadPoolExecutor(4) as pool:
        released = [job.id for jobs in pool.map(release, range(4)) for job in jobs]
    assert len(released) == len(set(released)) == 10


def test_an_undo_of_a_claim_leaves_the_job_queued(database: Database) -> None:
    job_id = add(database)

    def claim_and_fail() -> None:
        with database.write() as unit:
            assert queue.claim(unit, ["task"], "w", at=CLOCK.now())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        claim_and_fail()
    assert read(database, job_id).status is JobStatus.QUEUED
