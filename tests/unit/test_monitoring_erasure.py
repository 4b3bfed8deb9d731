"""Erasing a subject and what is old, and finding the way from answers to examples and back."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, insert, select, text

from inhouse.bootstrap import bootstrap
from inhouse.core.errors import Conflict, NotFound
from inhouse.core.ids import new_id
from inhouse.datasets import curate, snapshot
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.erase import DROPPED
from inhouse.datasets.example import Example
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import SnapshotRecord, build, get, load_examples
from inhouse.datasets.split import SplitSettings
from inhouse.db.dialects import table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database, WriteUnit
from inhouse.evaluation.tables import Evaluation, EvaluationItem
from inhouse.feedback import ingest
from inhouse.feedback.submit import store, submit
from inhouse.gateway.tables import IdempotentCall
from inhouse.interactions.erase import ERASED
from inhouse.interactions.pseudonym import pseudonym
from inhouse.interactions.record import InteractionRecord
from inhouse.interactions.record import insert as record
from inhouse.interactions.search import get as get_call
from inhouse.jobs import queue
from inhouse.jobs.worker import Worker
from inhouse.migrations.schema import metadata
from inhouse.monitoring import erasure, lineage
from inhouse.monitoring.erasure import Eraser, ErasureRecord
from inhouse.registry import move, versions
from inhouse.settings import load_settings
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.training import runs

SPEC = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("bad", "good"),
    prompt="{{ input }}",
    chain=("local/old",),
)
CATALOG = Catalog([SPEC])
SALT = b"0123456789abcdef"
MARK = "quokka7731"
SETTINGS = BuildSettings(split=SplitSettings(valid=0.2, test=0.2))


@dataclass
class World:
    """A database with calls of the subjects ann (who is to be erased) and bob."""

    database: Database
    clock: FrozenClock
    folder: Path

    def call(self, words: str, subject: str | None, label: str = "good") -> str:
        """A recorded call that was corrected."""
        self.clock.advance(1)
        made = new_id()
        fields: dict[str, Any] = {
            "task": "mood",
            "task_revision": SPEC.revision,
            "output": {"label": "bad"},
            "raw": f"{words} is bad",
            "tags": {"document": words},
            "unit": pseudonym(SALT, f"{subject}'s unit"),
            "subject": None if subject is None else pseudonym(SALT, subject),
            "attempts": [{"reference": "a/b", "ok": False, "code": "http-400", "message": words}],
            "cost": 0.25,
            "key_id": "k1",
        }
        one = InteractionRecord(
            id=made,
            created_at=self.clock.now(),
            status="answered",
            input=words,
            latency_ms=1.0,
            **fields,
        )
        with self.database.write() as unit:
            record(unit, [one])
        self.say(made, "correction", label)
        return made

    def say(self, interaction_id: str, kind: str, value: Any) -> None:
        with self.database.write() as unit:
            submit(
                unit,
                interaction_id=interaction_id,
                kind=kind,
                value=value,
                author=f"{MARK} reviewer",
                idempotency_key=None,
                at=self.clock.now(),
                catalog=CATALOG,
            )

    def build(self) -> SnapshotRecord:
        self.clock.advance(1)
        with self.database.write() as unit:
            return build(unit, SPEC, settings=SETTINGS, at=self.clock.now())

    def erase(self, ask: Callable[..., queue.JobRecord], what: Any) -> ErasureRecord:
        with self.database.write() as unit:
            job = ask(unit, what, actor="dpo", at=self.clock.now())
        eraser = Eraser(self.database, self.clock, lambda: None)
        done = Worker(self.database, {erasure.JOB: eraser}, clock=self.clock, name="t").run_next(
            job.id
        )
        assert done is not None
        assert done.error is None
        with self.database.read() as unit:
            found = erasure.get(unit, job.id)
        assert found is not None
        return found

    def request(self, snapshot_id: str, snapshot_hash: str) -> str:
        """A training run that waits."""
        run_id = new_id()
        with self.database.write() as unit:
            runs.create(
                unit,
                run_id=run_id,
                job_id=new_id(),
                task="mood",
                task_revision=SPEC.revision,
                recipe="encoder-head.v1",
                settings={},
                snapshot_id=snapshot_id,
                snapshot_hash=snapshot_hash,
                actor="ann",
                at=self.clock.now(),
            )
        return run_id

    def train(self, frozen: SnapshotRecord) -> versions.Version:
        """A version as a training run registers it."""
        run_id, at = self.request(frozen.id, frozen.content_hash), self.clock.now()
        with self.database.write() as unit:
            return versions.register(
                unit,
                task="mood",
                task_revision=SPEC.revision,
                artifact="mood",
                store_version="1",
                manifest_digest="sha256:0",
                recipe="encoder-head.v1",
                run_id=run_id,
                snapshot_id=frozen.id,
                at=at,
            )

    def found_in(self, mark: str) -> set[str]:
        """Tables that hold a text."""
        found = set()
        with self.database.read() as unit:
            for table in metadata().sorted_tables:
                for row in unit.execute(text(f"SELECT * FROM {table.name}")):
                    if mark in repr(tuple(row)):
                        found.add(table.name)
        return found


@pytest.fixture
def world(database: Database, clock: FrozenClock, tmp_path: Path) -> World:
    with database.write() as unit:
        unit.execute(insert(table_of(Meta)).values(name="salt", value=SALT.hex()))
    return World(database, clock, tmp_path)


def fill(world: World) -> tuple[list[str], list[str]]:
    """Ann's calls and bob's."""
    anns = [world.call(f"{MARK} number {n}.", "ann") for n in range(12)]
    bobs = [world.call(f"Plain text number {n}.", "bob", "bad") for n in range(12)]
    rows = world.folder / "rows.jsonl"
    lines = [
        {"text": f"{MARK} imported", "target": "good", "subject": "ann"},
        {"text": "imported for nobody", "target": "bad"},
    ]
    rows.write_text("\n".join(map(json.dumps, lines)))
    import_file(world.database, SPEC, rows, clock=world.clock)
    return anns, bobs


def evaluate(world: World, frozen: SnapshotRecord) -> None:
    values = {
        "id": new_id(),
        "task": "mood",
        "task_revision": SPEC.revision,
        "candidate": "mood@1",
        "snapshot_id": frozen.id,
        "split": "test",
        "status": "done",
        "settings": {},
        "created_at": world.clock.now(),
    }
    item = {"reference": "mood@1", "position": 0, "output": {"text": MARK}, "score": 0.5}
    with world.database.write() as unit:
        unit.execute(insert(table_of(Evaluation)).values(**values))
        unit.execute(insert(table_of(EvaluationItem)).values(evaluation_id=values["id"], **item))


def test_a_subject_is_gone_everywhere_and_the_counts_stay(world: World) -> None:
    anns, bobs = fill(world)
    frozen = world.build()
    version = world.train(frozen)
    evaluate(world, frozen)
    assert world.found_in(MARK) >= {"interaction", "feedback", "imported_example"}

    done = world.erase(erasure.request_subject, "ann")
    assert world.found_in(MARK) == {"feedback"}  # what the same reviewer said about bob's calls
    assert world.found_in(f"{MARK} n") == set()
    assert done.counts == {"interactions": 12, "feedback": 12, "imported": 1, "examples": 13}
    assert list(done.versions) == [version.reference]
    assert done.finished_at is not None
    with world.database.read() as unit:
        kept, other = get_call(unit, anns[0]), get_call(unit, bobs[0])
        left, told = load_examples(unit, frozen.id), get(unit, frozen.id)
        calls = unit.execute(text("SELECT sum(calls) FROM activity")).scalar_one()
        score = unit.execute(select(table_of(EvaluationItem).c.score)).scalar_one()
    assert (kept.input, kept.output, kept.subject, kept.unit) == (ERASED, None, None, None)
    assert (kept.status, kept.cost, kept.key_id) == ("answered", 0.25, "k1")
    assert kept.attempts == [{"reference": "a/b", "ok": False, "code": "http-400"}]
    assert other.input == "Plain text number 0."
    assert len(left) == 13
    assert told.dropped[DROPPED] == 13
    assert (calls, score) == (48, 0.5)  # once in their hour, once in their day

    after = world.build()
    assert after.content_hash != frozen.content_hash
    with world.database.read() as unit:
        assert sorted(e.input for e in load_examples(unit, after.id)) == sorted(
            example.input for example in left
        )
    again = world.erase(erasure.request_subject, "ann")
    assert again.counts == {"interactions": 0, "feedback": 0, "imported": 0, "examples": 0}
    assert list(again.versions) == []


def test_what_comes_in_anew_is_in_the_next_snapshot(world: World) -> None:
    fill(world)
    frozen = world.build()
    with world.database.read() as unit:
        before = load_examples(unit, frozen.id)
    world.erase(erasure.request_subject, "ann")
    world.build()
    for n in range(12):
        world.call(f"{MARK} number {n}.", "ann")
    import_file(world.database, SPEC, world.folder / "rows.jsonl", clock=world.clock)
    again = world.build()
    assert (again.id, again.dropped) == (frozen.id, frozen.dropped)
    assert again.counts["labels"] == frozen.counts["labels"]
    with world.database.read() as unit:
        after = load_examples(unit, frozen.id)
    assert [e.content_hash for e in after] == [e.content_hash for e in before]
    assert len(world.erase(erasure.request_subject, "ann").snapshots) == 1
    assert world.found_in(MARK) == {"feedback"}


def test_what_was_imported_without_its_subject_goes_with_it_later(world: World) -> None:
    rows = world.folder / "rows.csv"
    rows.write_text(f"text,label,who\n{MARK} one,good,ann\nanother,bad,bob\n")
    import_file(world.database, SPEC, rows, clock=world.clock)
    frozen = world.build()
    import_file(world.database, SPEC, rows, clock=world.clock, columns={"subject": "who"})
    done = world.erase(erasure.request_subject, "ann")
    assert (list(done.snapshots), done.counts["examples"]) == ([frozen.id], 1)
    assert world.found_in(MARK) == set()


def erase_meanwhile(world: World) -> threading.Thread:
    """Ann is erased beside the unit that is open. Returns once that waits, or is done."""
    thread = threading.Thread(target=world.erase, args=(erasure.request_subject, "ann"))
    thread.start()
    while thread.is_alive() and not waits(world.database):
        pass
    return thread


def waits(database: Database) -> bool:
    """Whether somebody waits for a lock; on SQLite who writes waits for who wrote before."""
    if database.is_sqlite:
        return True
    mine = "datname = current_database() AND wait_event_type = 'Lock'"
    with database.read() as unit:
        return bool(unit.scalar(text(f"SELECT count(*) FROM pg_stat_activity WHERE {mine}")))


@pytest.mark.parametrize("by", ["build", "build_unlocked"])
def test_who_erases_waits_for_a_snapshot_that_is_stored(
    world: World, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    fill(world)
    began = []

    def look(unit: WriteUnit, examples: Sequence[Example]) -> bool:
        found = curate.all_there(unit, examples)
        began.append(erase_meanwhile(world))
        return found

    monkeypatch.setattr(snapshot, "all_there", look)
    if by == "build":
        world.build()
    else:
        at = world.clock.now()
        snapshot.build_unlocked(world.database, SPEC, settings=SETTINGS, at=at)
    began[0].join()
    assert world.found_in(MARK) == {"feedback"}


def test_who_erases_waits_for_a_statement_that_is_stored(world: World) -> None:
    made = world.call("Some text.", "ann")
    with world.database.write() as unit:
        submit(
            unit,
            interaction_id=made,
            kind="comment",
            value=f"{MARK} lives there",
            author=None,
            idempotency_key=None,
            at=world.clock.now(),
            catalog=CATALOG,
        )
        began = erase_meanwhile(world)
    began.join()
    assert world.found_in(MARK) == set()


def test_a_file_of_statements_and_an_erasure_never_wait_for_each_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = [world.call(f"Text {n}.", "ann") for n in range(2)]
    began = []

    def say(*given: Any, **options: Any) -> Any:
        stored = store(*given, **options)
        began.append(erase_meanwhile(world) if not began else began[0])
        return stored

    monkeypatch.setattr(ingest, "store", say)
    told = {"kind": "comment", "value": f"{MARK} lives there"}
    lines = [json.dumps({"interaction_id": made, **told}).encode() for made in reversed(calls)]
    report = ingest.import_rows(world.database, lines, catalog=CATALOG, clock=world.clock)
    began[0].join()
    assert report.added == 2
    assert world.found_in(MARK) == set()


def test_nothing_more_is_kept_about_an_erased_call(world: World) -> None:
    made = world.call("Some text.", "ann")
    world.erase(erasure.request_subject, "ann")
    with pytest.raises(Conflict, match="was erased"):
        world.say(made, "comment", "late words")


def test_what_is_old_is_erased_and_the_rest_is_not(world: World) -> None:
    old = [world.call(f"Old text {n}.", None) for n in range(3)]
    lost = new_id()
    world.say(lost, "comment", "about a call that nobody recorded")
    world.clock.advance(3600)
    border = world.clock.now()
    new = world.call("New text.", "bob")
    frozen = world.build()
    done = world.erase(erasure.request_before, border)
    assert done.counts == {"interactions": 3, "feedback": 4, "imported": 0, "examples": 3}
    assert done.subject is None
    assert done.before == border
    with world.database.read() as unit:
        assert [get_call(unit, one).input for one in old] == [ERASED] * 3
        assert get_call(unit, new).input == "New text."
        assert [example.input for example in load_examples(unit, frozen.id)] == ["New text."]


def test_a_killed_job_goes_on_and_counts_everything_once(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure, "BATCH", 5)
    fill(world)
    world.build()
    with world.database.write() as unit:
        job = erasure.request_subject(unit, "ann", actor="dpo", at=world.clock.now())
        same = erasure.request_subject(unit, "ann", actor="dpo", at=world.clock.now())
    assert same.id == job.id
    arguments = dict(job.arguments)
    with world.database.write() as unit:
        plan = erasure._begin(unit, job.id, arguments, world.clock.now())
    for _ in range(2):
        with world.database.write() as unit:
            assert plan.batch(unit)
    with world.database.read() as unit:
        half = erasure.get(unit, job.id)
    assert half is not None
    assert (half.counts["interactions"], half.finished_at) == (10, None)
    done = world.erase(erasure.request_subject, "ann")
    assert done.id == job.id
    assert done.counts == {"interactions": 12, "feedback": 12, "imported": 1, "examples": 13}


def test_answers_kept_for_repeats_go_with_the_call(world: World) -> None:
    made = world.call("Some text.", "ann")
    table = table_of(IdempotentCall)
    at = world.clock.now()
    with world.database.write() as unit:
        for key, scope, began in (
            ("the call's", "k1", at - timedelta(seconds=2)),
            ("another key's", "k2", at - timedelta(seconds=2)),
            ("an earlier one", "k1", at - timedelta(seconds=60)),
        ):
            row = {"digest": "0", "claim": new_id(), "response": "sealed"}
            expires = began + timedelta(seconds=30)
            unit.execute(
                insert(table).values(
                    scope=scope, key=key, created_at=began, expires_at=expires, **row
                )
            )
    world.erase(erasure.request_subject, "ann")
    with world.database.read() as unit:
        kept = set(unit.execute(select(table.c.key)).scalars())
        assert get_call(unit, made).input == ERASED
    assert kept == {"another key's", "an earlier one"}


def test_what_a_killed_training_run_left_on_the_disk_goes_too(
    tmp_path: Path, clock: FrozenClock
) -> None:
    app = bootstrap(load_settings(tmp_path), clock=clock)
    world = World(app.database, clock, tmp_path)
    run_id = world.request(new_id(), "ab" * 32)
    with app.database.write() as unit:
        runs.cancel(unit, run_id, at=clock.now())
        job = erasure.request_subject(unit, "ann", actor="dpo", at=clock.now())
    worker, left = app.make_worker(1), app.training.folder(run_id) / "attempt"
    left.mkdir(parents=True)
    done = worker.run_next(job.id)
    assert done is not None
    assert done.error is None
    assert not left.exists()
    left.mkdir()
    app.make_worker(1)
    assert not left.exists()
    app.database.close()


def test_from_a_version_to_its_calls_and_back(world: World) -> None:
    anns, _ = fill(world)
    frozen = world.build()
    version = world.train(frozen)
    unused = world.call("Came too late.", "bob")
    with world.database.write() as unit:
        for percent in (10, 50):
            world.clock.advance(60)
            move.set_weight(
                unit,
                SPEC,
                candidate=version.reference,
                percent=percent,
                actor="op",
                reason=f"to {percent}",
                at=world.clock.now(),
            )
    with world.database.read() as unit:
        seen: list[str] = []
        before = None
        while True:
            page = lineage.of_version(unit, "mood", 1, before=before, limit=10)
            seen += [one.call.id for one in page.calls]
            if (before := page.next) is None:
                break
        back = lineage.of_interaction(unit, anns[3])
        by_feedback = lineage.of_interaction(unit, back.feedback[0].id)
        none = lineage.of_interaction(unit, unused)
        with pytest.raises(NotFound):
            lineage.of_interaction(unit, new_id())
    assert (page.from_calls, page.from_imports) == (24, 2)
    assert len(seen) == len(set(seen)) == 24
    assert seen == sorted(seen, reverse=True)
    assert by_feedback == back
    assert (list(none.uses), none.answered_by) == ([], None)
    (use,) = back.uses
    assert use.snapshot.id == frozen.id
    (trained,) = use.runs
    assert trained.version is not None
    assert trained.version.reference == version.reference
    newest, oldest = trained.version.routes
    assert (newest.role, newest.weight_bp, newest.until) == ("candidate", 5000, None)
    assert (oldest.weight_bp, oldest.until, oldest.reason) == (1000, newest.since, "to 10")
    with world.database.read() as unit:
        stored = load_examples(unit, frozen.id)
    assert stored[use.position].input == f"{MARK} number 3."


def test_an_answer_of_an_own_version_leads_to_what_it_learned_from(world: World) -> None:
    fill(world)
    frozen = world.build()
    world.train(frozen)
    made = world.call("Asked later.", "bob")
    with world.database.write() as unit:
        unit.execute(
            text("UPDATE interaction SET reference = 'mood@1' WHERE id = :id"), {"id": made}
        )
    with world.database.read() as unit:
        found = lineage.of_interaction(unit, made).answered_by
    assert found is not None
    assert found.snapshot is not None
    assert (found.snapshot.id, found.from_calls) == (frozen.id, 24)


BIG = ("interaction", "feedback", "dataset_snapshot_example", "imported_example")


@contextmanager
def watched(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """The statements that are run, with their parameters."""
    heard: list[tuple[str, Any]] = []

    def hear(_c: Any, _u: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            heard.append((statement, parameters))

    event.listen(database.engine, "before_cursor_execute", hear)
    yield heard
    event.remove(database.engine, "before_cursor_execute", hear)


def scans(database: Database, statement: str, parameters: Any) -> list[str]:
    """Lines of the plan that read one of the big tables from end to end."""
    with database.read() as unit:
        if database.is_sqlite:
            rows = unit.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            lines = [row[3] for row in rows]
            return [line for line in lines if re.match(rf"SCAN ({'|'.join(BIG)})\b", line)]
        unit.exec_driver_sql("SET LOCAL enable_seqscan = off")
        lines = [row[0] for row in unit.exec_driver_sql(f"EXPLAIN {statement}", parameters)]
        return [line for line in lines if re.search(rf"Seq Scan on ({'|'.join(BIG)})\b", line)]


def test_no_step_reads_a_big_table_from_end_to_end(world: World) -> None:
    anns, _ = fill(world)
    world.train(world.build())
    with watched(world.database) as heard, world.database.read() as unit:
        lineage.of_interaction(unit, anns[0])
        lineage.of_version(unit, "mood", 1, before=anns[5])
        erasure.held(unit, "ann")
    with watched(world.database) as later:
        world.erase(erasure.request_subject, "ann")
    assert len(heard) > 8
    for statement, parameters in [*heard, *later]:
        assert scans(world.database, statement, parameters) == [], statement
