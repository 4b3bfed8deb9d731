"""How an evaluation ends when something happens meanwhile: an erasure, traffic, an archive, a
death."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from inhouse.core.errors import Conflict
from inhouse.core.states import JobStatus, VersionStatus
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.erase import erase_imported, imported_of_subject
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import build
from inhouse.datasets.split import SplitSettings
from inhouse.db.unit import Database
from inhouse.evaluation import records
from inhouse.evaluation.erase import erase_answers
from inhouse.evaluation.gate import GateSettings
from inhouse.evaluation.records import EvaluationRecord
from inhouse.evaluation.run import JOB, Evaluator, request
from inhouse.inference.base import Hosting, Question, Reply
from inhouse.interactions.pseudonym import pseudonym, salt_of
from inhouse.jobs import queue
from inhouse.jobs.worker import Worker
from inhouse.monitoring import erasure
from inhouse.monitoring.erasure import Eraser
from inhouse.registry import move, retire, versions
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.versions import add_version

SPEC = TaskSpec(
    name="sum",
    kind=TaskKind.TEXT,
    description="",
    prompt="{{ input }}",
    chain=("local/any",),
)
MARK = "quokka7731"
BY: dict[str, Any] = {"actor": "ann", "reason": "go"}


class Answers:
    """A backend that is right when it is the general model; ``meanwhile`` happens at a candidate's
    fifth call."""

    hosting = Hosting.OWN

    def __init__(self, reference: str, meanwhile: Callable[[], None]) -> None:
        self.reference, self.meanwhile, self.calls = reference, meanwhile, 0

    async def answer(self, question: Question) -> Reply:
        self.calls += 1
        if self.reference != "local/any" and self.calls == 5:
            await asyncio.to_thread(self.meanwhile)
        right = self.reference == "local/any"
        return Reply(content=question.text if right else f"no {question.text.split()[0]}")

    async def close(self) -> None:
        return


def nothing() -> None:
    return


@dataclass
class World:
    """A version ``sum@1`` that is worse than the general model, and what happens to it."""

    database: Database
    clock: FrozenClock
    folder: Path
    meanwhile: Callable[[], None] = nothing
    version: versions.Version = field(init=False)

    def __post_init__(self) -> None:
        rows = [
            {"text": f"{who} wrote letter {n} on {n * n}", "output": f"{who} wrote", "subject": who}
            for who in (MARK, "bob")
            for n in range(30)
        ]
        path = self.folder / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        import_file(self.database, SPEC, path, clock=self.clock)
        split = SplitSettings(valid=0.1, test=0.5)
        with self.database.write() as unit:
            frozen = build(unit, SPEC, settings=BuildSettings(split=split), at=self.clock.now())
            self.version = add_version(unit, SPEC, self.clock.now(), snapshot_id=frozen.id)

    @property
    def evaluator(self) -> Evaluator:
        return Evaluator(
            database=self.database,
            catalog=Catalog([SPEC]),
            clock=self.clock,
            resolve=lambda reference: Answers(reference, lambda: self.meanwhile()),
            gate=GateSettings(),
        )

    def work(self, name: str = "test") -> queue.JobRecord | None:
        return Worker(self.database, {JOB: self.evaluator}, clock=self.clock, name=name).run_next()

    def status(self) -> VersionStatus:
        with self.database.read() as unit:
            return versions.by_id(unit, self.version.id).status

    def evaluations(self) -> list[EvaluationRecord]:
        with self.database.read() as unit:
            return records.list_evaluations(unit)

    def outputs(self, evaluation_id: str) -> list[Any]:
        with self.database.read() as unit:
            return [item["output"] for item in records.items(unit, evaluation_id)]

    def serve(self, percent: float = 10.0) -> None:
        with self.database.write() as unit:
            move.set_weight(
                unit, SPEC, candidate="sum@1", percent=percent, at=self.clock.now(), **BY
            )

    def archive(self) -> None:
        with self.database.write() as unit:
            retire.archive(unit, [SPEC], "sum", 1, by="ann", why="no", at=self.clock.now())

    def erase(self) -> None:
        with self.database.write() as unit:
            job = erasure.request_subject(unit, MARK, actor="dpo", at=self.clock.now())
        eraser = Eraser(self.database, self.clock, lambda: None)
        worker = Worker(self.database, {erasure.JOB: eraser}, clock=self.clock, name="eraser")
        done = worker.run_next(job.id)
        assert done is not None
        assert done.status is JobStatus.DONE


@pytest.fixture
def world(database: Database, clock: FrozenClock, tmp_path: Path) -> World:
    return World(database, clock, tmp_path)


def test_answers_to_what_is_erased_meanwhile_are_not_kept(world: World) -> None:
    whole = world.evaluator.evaluate(world.version.id)
    assert any(MARK in str(output) for output in world.outputs(whole.id))
    world.meanwhile = world.erase
    part = world.evaluator.evaluate(world.version.id)
    assert (part.status, part.results is not None) == ("done", True)
    assert set(world.outputs(part.id)) == {None}
    world.meanwhile = nothing
    after = world.evaluator.evaluate(world.version.id)
    kept = world.outputs(after.id)
    assert None not in kept
    assert not any(MARK in str(output) for output in kept)


@pytest.mark.postgres
@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_an_evaluation_waits_for_an_erasure_that_is_under_way(world: World) -> None:
    """On SQLite there is one writer at a time anyway."""
    begun, asked = threading.Event(), threading.Event()

    @event.listens_for(world.database.engine, "before_cursor_execute")
    def look(_c: object, _u: object, statement: str, *_: object) -> None:
        if begun.is_set() and "dropped" in statement and "FOR UPDATE" in statement:
            asked.set()

    def erase() -> None:
        with world.database.write() as unit:
            ids = imported_of_subject(unit, pseudonym(salt_of(unit), MARK), 100)
            assert erase_imported(unit, ids)
            erase_answers(unit, [str(world.version.snapshot_id)])
            begun.set()
            assert asked.wait(30)

    eraser = threading.Thread(target=erase)

    def meanwhile() -> None:
        eraser.start()
        assert begun.wait(30)

    world.meanwhile = meanwhile
    record = world.evaluator.evaluate(world.version.id)
    eraser.join()
    assert set(world.outputs(record.id)) == {None}


def test_a_failed_gate_rejects_a_version_that_nobody_uses(world: World) -> None:
    assert world.evaluator.evaluate(world.version.id).verdict == "fail"
    assert world.status() is VersionStatus.REJECTED


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_a_failed_gate_rejects_no_version_in_service(world: World, when: str) -> None:
    if when == "before":
        world.serve()
    else:
        world.meanwhile = world.serve
    assert world.evaluator.evaluate(world.version.id).verdict == "fail"
    assert world.status() is VersionStatus.CANDIDATE
    world.serve(100.0)
    assert world.evaluator.evaluate(world.version.id).verdict == "fail"
    assert world.status() is VersionStatus.ACTIVE


def test_a_version_that_is_archived_meanwhile_keeps_its_verdict(world: World) -> None:
    world.meanwhile = world.archive
    with world.database.write() as unit:
        request(unit, "sum@1", clock=world.clock)
    done = world.work()
    assert done is not None
    assert (done.status, done.error) == (JobStatus.DONE, None)
    [record] = world.evaluations()
    assert (record.status, record.verdict) == ("done", "fail")
    assert world.status() is VersionStatus.ARCHIVED


def test_an_evaluation_whose_worker_died_has_failed(world: World) -> None:
    with world.database.write() as unit:
        job = request(unit, "sum@1", clock=world.clock)
        claimed = queue.claim(unit, [JOB], "dies", at=world.clock.now())
        assert claimed is not None
        begun = records.begin(
            unit,
            task="sum",
            task_revision=SPEC.revision,
            candidate="sum@1",
            version_id=world.version.id,
            snapshot_id=str(world.version.snapshot_id),
            settings={"job": job.id},
            at=world.clock.now(),
        )
    world.clock.advance(queue.LEASE_SECONDS + 1)
    done = world.work("heir")
    assert done is not None
    assert (done.status, done.attempts) == (JobStatus.DONE, 2)
    newest, oldest = world.evaluations()
    assert newest.settings["job"] == job.id
    assert (newest.status, newest.verdict) == ("done", "fail")
    assert (oldest.id, oldest.status, oldest.error) == (begun.id, "failed", queue.LOST)


def test_a_worker_that_lost_its_job_stores_nothing(world: World) -> None:
    with world.database.write() as unit:
        request(unit, "sum@1", clock=world.clock)
        job = queue.claim(unit, [JOB], "slow", at=world.clock.now())
    assert job is not None

    def lose() -> None:
        world.meanwhile = nothing
        world.clock.advance(queue.LEASE_SECONDS + 1)
        assert world.work("heir") is not None

    world.meanwhile = lose
    with pytest.raises(Conflict, match="is failed"):
        world.evaluator.evaluate(world.version.id, job_id=job.id)
    assert [one.status for one in world.evaluations()] == ["done", "failed"]
