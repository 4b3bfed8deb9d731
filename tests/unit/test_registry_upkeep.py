"""What stays when the store is pruned, what is missing, and the scrub as a job."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import pytest

from inhouse.core.errors import Conflict
from inhouse.core.states import JobStatus, VersionStatus
from inhouse.db.unit import Database
from inhouse.jobs import queue
from inhouse.jobs.worker import Worker
from inhouse.registry import retire, routes, upkeep, versions
from inhouse.registry.versions import Version
from inhouse.store.manifest import Draft, Lineage, VariantSpec
from inhouse.store.publish import Published
from inhouse.store.store import ModelStore
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

ONNX = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("model.onnx",))
SPEC = TaskSpec(
    name="sentiment",
    kind=TaskKind.CHOICE,
    description="",
    labels=("negative", "positive"),
    prompt="{{ input }}",
    chain=("embedded/general",),
)


@pytest.fixture
def store(tmp_path: Path, clock: FrozenClock) -> ModelStore:
    return ModelStore(tmp_path / "store", clock)


def put(store: ModelStore, clock: FrozenClock, run_id: str | None = None) -> Published:
    clock.advance(60)
    lineage = Lineage(run_id=run_id)
    draft = Draft(kind="encoder", license="MIT", variants=(ONNX,), lineage=lineage)
    with store.stage("sentiment") as staging:
        (staging.path / "model.onnx").write_bytes(b"\x08weights")
        return store.publish(staging, draft)


def enter(database: Database, clock: FrozenClock, made: Published) -> Version:
    with database.write() as unit:
        return versions.register(
            unit,
            task="sentiment",
            task_revision=SPEC.revision,
            artifact=made.name,
            store_version=made.version,
            manifest_digest=made.manifest_digest,
            recipe="encoder-head.v1",
            run_id=None,
            snapshot_id=None,
            at=clock.now(),
        )


def pruned(database: Database, store: ModelStore, specs: Iterable[TaskSpec] = (SPEC,)) -> list[str]:
    policy = upkeep.policy(database, specs, grace=timedelta(days=7), keep=0)
    found = store.prune(policy, dry_run=False)
    return [each.name.partition("@")[2] for each in found if each.kind == "version"]


def test_prune_keeps_what_is_registered_served_or_being_trained(
    sqlite_database: Database, store: ModelStore, clock: FrozenClock
) -> None:
    rejected, archived, on_a_route, orphan, training = (
        put(store, clock, run_id) for run_id in (None, None, None, "run-1", "run-2")
    )
    entered = [enter(sqlite_database, clock, each) for each in (rejected, archived, on_a_route)]
    with sqlite_database.write() as unit:
        for version, status in zip(
            entered, (VersionStatus.REJECTED, *2 * (VersionStatus.ARCHIVED,)), strict=True
        ):
            versions.set_status(unit, version.id, status, by="x", why="", at=clock.now())
        standing = routes.implicit("other", (entered[2].reference,))
        routes.append(unit, standing, expect=0, at=clock.now())
        job = queue.enqueue(unit, "training.run", {"run_id": "run-2"}, at=clock.now())
    clock.advance(8 * 86400)
    assert pruned(sqlite_database, store) == [archived.version, orphan.version]
    rest = [rejected.version, on_a_route.version, training.version]
    assert store.versions("sentiment") == rest
    with sqlite_database.write() as unit:
        queue.cancel(unit, job.id, at=clock.now())
    assert pruned(sqlite_database, store) == [training.version]


def test_missing_names_what_the_store_does_not_hold(
    sqlite_database: Database, store: ModelStore, clock: FrozenClock
) -> None:
    made, lost, changed = (put(store, clock) for _ in range(3))
    for each in (made, lost, changed):
        enter(sqlite_database, clock, each)
    assert upkeep.missing(sqlite_database, store) == []
    (lost.path).rename(store.root / "elsewhere")
    with sqlite_database.write() as unit:
        unit.exec_driver_sql("UPDATE model_version SET manifest_digest = 'sha256:0' WHERE number=3")
    first, second = sorted(
        upkeep.missing(sqlite_database, store), key=lambda found: found.problem, reverse=True
    )
    assert (first.version, first.problem) == (lost.version, "missing")
    assert "registered as sentiment@2" in first.message
    assert (second.problem, second.expected, second.actual) == (
        "digest",
        "sha256:0",
        changed.manifest_digest,
    )
    with sqlite_database.write() as unit:
        for number in (2, 3):
            retire.archive(unit, [SPEC], "sentiment", number, by="x", why="", at=clock.now())
    assert upkeep.missing(sqlite_database, store) == []


def test_a_scrub_is_a_job_with_progress_and_a_result(
    sqlite_database: Database, store: ModelStore, clock: FrozenClock
) -> None:
    made = put(store, clock)
    (made.path / "model.onnx").chmod(0o644)
    (made.path / "model.onnx").write_bytes(b"\x08Weights")
    with sqlite_database.write() as unit:
        job = upkeep.request_scrub(unit, clock, rate_mb_s=1000)
        with pytest.raises(Conflict, match="is queued"):
            upkeep.request_scrub(unit, clock, rate_mb_s=1000)
    handlers = {upkeep.SCRUB: upkeep.Scrub(sqlite_database, store)}
    done = Worker(sqlite_database, handlers, clock=clock, name="w").run_next(job.id)
    assert done is not None
    assert done.status is JobStatus.DONE
    assert done.result is not None
    assert done.result["findings"] == 2, "the version, and the blob that is the same file"
    assert "model.onnx: digest: expected sha256:" in done.result["messages"][0]
    assert done.progress is not None
    assert done.progress.done == done.progress.total > 0
    assert [mark.version for mark in store.quarantined()] == [made.version]


def test_a_scrub_can_be_cancelled(
    sqlite_database: Database, store: ModelStore, clock: FrozenClock
) -> None:
    put(store, clock)
    with sqlite_database.write() as unit:
        job = upkeep.request_scrub(unit, clock, rate_mb_s=1e-9)
    handlers = {upkeep.SCRUB: upkeep.Scrub(sqlite_database, store)}
    worker = Worker(sqlite_database, handlers, clock=clock, name="w", threads=1)
    worker.start()
    try:
        status = wait_for(sqlite_database, job.id, JobStatus.RUNNING)
        with sqlite_database.write() as unit:
            queue.cancel(unit, job.id, at=clock.now())
        status = wait_for(sqlite_database, job.id, JobStatus.CANCELLED)
        assert status is JobStatus.CANCELLED
    finally:
        worker.stop()


def wait_for(database: Database, job_id: str, status: JobStatus) -> JobStatus:
    """Look until the job has the status, 30 s at most."""
    pause = threading.Event()
    for _ in range(1500):
        with database.read() as unit:
            found = queue.get(unit, job_id).status
        if found is status:
            return found
        pause.wait(0.02)
    return found
