"""Training runs: their states, their events, and how they follow their jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import Conflict, Invalid, NotFound
from inhouse.core.states import JobStatus, RunStatus
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.db.unit import Database
from inhouse.jobs import handler, queue
from inhouse.jobs.worker import Worker
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.training import handover, runs
from inhouse.training.execute import JOB, LOG, Training
from inhouse.training.runs import Run

SPEC = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("bad", "good"),
    prompt="{{ input }}",
)


@pytest.fixture
def training(sqlite_database: Database, clock: FrozenClock, tmp_path: Path) -> Training:
    return Training(
        database=sqlite_database,
        store=ModelStore(tmp_path / "store", clock),
        catalog=Catalog([SPEC]),
        clock=clock,
        runs_dir=tmp_path / "runs",
    )


def make_snapshot(clock: FrozenClock, revision: str = SPEC.revision) -> SnapshotRecord:
    return SnapshotRecord(
        id="s1",
        task="mood",
        task_revision=revision,
        content_hash="ab" * 32,
        settings={},
        counts={},
        dropped={},
        created_at=clock.now(),
    )


def request(training: Training, clock: FrozenClock, **more: Any) -> Run:
    with training.database.write() as unit:
        return training.request(unit, SPEC, make_snapshot(clock), actor="ann", **more)


def get(training: Training, run: Run) -> Run:
    with training.database.read() as unit:
        return runs.get(unit, run.id)


def test_a_request_queues_run_and_job_together(training: Training, clock: FrozenClock) -> None:
    run = request(training, clock, overrides={"folds": 3})
    assert (run.status, run.actor, run.task_revision) == ("queued", "ann", SPEC.revision)
    assert run.settings["folds"] == 3
    assert run.settings["base"] == "minilm-l6"
    with training.database.read() as unit:
        job = queue.get(unit, run.job_id)
        assert (job.name, job.arguments) == (JOB, {"run_id": run.id})
        assert runs.list_runs(unit) == [run]
        assert runs.list_runs(unit, task="other") == []
        assert runs.list_runs(unit, status=RunStatus.RUNNING) == []


def test_a_request_that_does_not_fit_leaves_nothing(training: Training, clock: FrozenClock) -> None:
    with pytest.raises(Invalid):
        request(training, clock, recipe="magic.v9")
    with pytest.raises(Invalid):
        request(training, clock, overrides={"fold": 3})
    with training.database.write() as unit, pytest.raises(Conflict):
        training.request(unit, SPEC, make_snapshot(clock, "0" * 16), actor="ann")
    with training.database.read() as unit:
        assert runs.list_runs(unit) == []
        assert queue.list_jobs(unit) == []


def test_the_good_way(training: Training, clock: FrozenClock) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        clock.advance(1)
        started = runs.start(unit, run.id, at=clock.now())
        clock.advance(5)
        done = runs.succeed(unit, run.id, version_id="v", metrics={"f1": 0.5}, at=clock.now())
    assert started.status is RunStatus.RUNNING
    assert (done.status, done.version_id, done.metrics) == ("succeeded", "v", {"f1": 0.5})
    assert done.started_at is not None
    assert done.finished_at is not None
    assert (done.finished_at - done.started_at).total_seconds() == 5


FINAL = {
    "succeeded": lambda unit, run_id, at: runs.succeed(
        unit, run_id, version_id="v", metrics={}, at=at
    ),
    "failed": lambda unit, run_id, at: runs.fail(unit, run_id, "why", at=at),
    "cancelled": lambda unit, run_id, at: runs.cancel(unit, run_id, at=at),
}


@pytest.mark.parametrize("end", FINAL)
def test_an_ended_run_never_moves_again(training: Training, clock: FrozenClock, end: str) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        runs.start(unit, run.id, at=clock.now())
        FINAL[end](unit, run.id, clock.now())
        for move in (*FINAL.values(), lambda *a: runs.start(a[0], a[1], at=a[2])):
            with pytest.raises(Conflict):
                move(unit, run.id, clock.now())
    assert get(training, run).status == end


def test_a_run_that_was_not_started_cannot_succeed(training: Training, clock: FrozenClock) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        with pytest.raises(Conflict):
            runs.succeed(unit, run.id, version_id="v", metrics={}, at=clock.now())
        with pytest.raises(NotFound):
            runs.start(unit, "nope", at=clock.now())


def test_events_are_numbered_and_read_from_where_one_left_off(
    training: Training, clock: FrozenClock
) -> None:
    run, other = request(training, clock), request(training, clock)
    with training.database.write() as unit:
        for done in range(3):
            data = {"done": done, "total": 3, "note": "x"}
            assert runs.append(unit, run.id, runs.PROGRESS, data, at=clock.now()) == done + 2
        assert [e.sequence for e in runs.events(unit, run.id)] == [1, 2, 3, 4]
        assert [e.data["done"] for e in runs.events(unit, run.id, after=2)] == [1, 2]
        assert [e.sequence for e in runs.events(unit, run.id, after=1, limit=2)] == [2, 3]
        assert [e.sequence for e in runs.events(unit, other.id)] == [1]
        assert runs.events(unit, run.id, after=4) == []


def test_a_run_follows_its_job(training: Training, clock: FrozenClock) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        job = queue.claim(unit, [JOB], "w", at=clock.now())
        assert job is not None
        runs.start(unit, run.id, at=clock.now())
        handler.tell(unit, {JOB: training}, queue.release(unit, job, at=clock.now()), clock.now())
    assert get(training, run).status is RunStatus.QUEUED
    with training.database.write() as unit:
        job = queue.claim(unit, [JOB], "w", at=clock.now())
        assert job is not None
        runs.start(unit, run.id, at=clock.now())
        failed = queue.fail(unit, job, "no disk", at=clock.now())
        handler.tell(unit, {JOB: training}, failed, clock.now())
    assert (get(training, run).status, get(training, run).error) == (RunStatus.FAILED, "no disk")


def test_cancelling_the_job_cancels_the_run(training: Training, clock: FrozenClock) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        handler.cancel(unit, {JOB: training}, run.job_id, at=clock.now())
    assert get(training, run).status is RunStatus.CANCELLED


def test_the_job_of_an_ended_run_is_not_retried(training: Training, clock: FrozenClock) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        training.cancel(unit, run.id)
    with pytest.raises(Conflict, match="is cancelled"), training.database.write() as unit:
        handler.retry(unit, {JOB: training}, run.job_id, at=clock.now())
    with training.database.read() as unit:
        assert queue.get(unit, run.job_id).status is JobStatus.CANCELLED


def test_a_job_that_ends_badly_after_its_run_succeeded_changes_nothing(
    training: Training, clock: FrozenClock
) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        job = queue.claim(unit, [JOB], "w", at=clock.now())
        assert job is not None
        runs.start(unit, run.id, at=clock.now())
        runs.succeed(unit, run.id, version_id="v", metrics={}, at=clock.now())
        failed = queue.fail(unit, job, "lost", at=clock.now())
        handler.tell(unit, {JOB: training}, failed, clock.now())
    assert get(training, run).status is RunStatus.SUCCEEDED


def leave(training: Training, run: Run) -> Path:
    """What an attempt whose worker was killed leaves in the run's folder."""
    home = training.folder(run.id)
    for name in ("attempt", handover.KEPT):
        (home / name).mkdir(parents=True)
        (home / name / "examples.jsonl").write_text("quokka")
    (home / LOG).write_text("said")
    return home


def names(home: Path) -> list[str]:
    return sorted(path.name for path in home.iterdir())


@pytest.mark.parametrize("is_cancelled", [True, False])
def test_a_run_that_ends_after_its_worker_was_killed_leaves_its_log_only(
    training: Training, clock: FrozenClock, is_cancelled: bool
) -> None:
    run = request(training, clock)
    with training.database.write() as unit:
        for _ in range(1 if is_cancelled else queue.MAX_ATTEMPTS):
            job = queue.claim(unit, [JOB], "dies", at=clock.now())
            assert job is not None
            runs.start(unit, run.id, at=clock.now())
            if job.attempts < queue.MAX_ATTEMPTS and not is_cancelled:
                clock.advance(queue.LEASE_SECONDS + 1)
                left = queue.release_lost(unit, job.id, at=clock.now())
                handler.tell(unit, {JOB: training}, left, clock.now())
    home = leave(training, run)
    if is_cancelled:
        with training.database.write() as unit:
            training.cancel(unit, run.id)
    clock.advance(queue.LEASE_SECONDS + 1)
    worker = Worker(training.database, {JOB: training}, clock=clock, name="next")
    assert worker.run_next() is None
    ended = get(training, run).status
    assert ended is (RunStatus.CANCELLED if is_cancelled else RunStatus.FAILED)
    assert names(home) == [LOG]


def test_a_sweep_clears_the_folders_of_runs_that_have_ended(
    training: Training, clock: FrozenClock
) -> None:
    training.sweep()
    ended, waits = request(training, clock), request(training, clock)
    with training.database.write() as unit:
        training.cancel(unit, ended.id)
    homes = [leave(training, run) for run in (ended, waits)]
    stranger = training.runs_dir / "stranger" / "sub"
    stranger.mkdir(parents=True)
    training.sweep()
    assert [names(home) for home in homes] == [[LOG], ["attempt", handover.KEPT, LOG]]
    assert stranger.is_dir()
