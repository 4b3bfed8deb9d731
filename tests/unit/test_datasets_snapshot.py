"""From feedback and files to a frozen snapshot, on both dialects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from sqlalchemy import delete, insert

from inhouse.core.errors import Invalid, NotFound
from inhouse.core.ids import new_id
from inhouse.datasets import curate
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.curate import collect, count_new
from inhouse.datasets.example import text_group
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import (
    SnapshotRecord,
    build,
    get,
    list_snapshots,
    load_examples,
)
from inhouse.datasets.split import SplitSettings
from inhouse.datasets.tables import ImportedExample
from inhouse.db.dialects import table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database, WriteUnit
from inhouse.feedback.submit import submit
from inhouse.interactions import record
from inhouse.interactions.pseudonym import pseudonym
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

SPEC = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("bad", "good"),
    prompt="{{ input }}",
)
SCORE = TaskSpec(name="tone", kind=TaskKind.SCORE, description="", low=-1.0, prompt="{{ input }}")
OTHER = replace(SPEC, labels=("bad", "good", "mixed"))
CATALOG = Catalog([SPEC, SCORE])
PLAIN = BuildSettings()


def _call(write: WriteUnit, clock: FrozenClock, text: Any, **fields: Any) -> str:
    """A recorded call that a general model answered with "bad"."""
    values: dict[str, Any] = {
        "task": "mood",
        "task_revision": SPEC.revision,
        "output": {"label": "bad"},
        **fields,
    }
    made = record.InteractionRecord(
        id=new_id(),
        created_at=clock.now(),
        status="answered",
        input=text,
        latency_ms=1.0,
        **values,
    )
    record.insert(write, [made])
    return made.id


def _say(
    unit: WriteUnit,
    clock: FrozenClock,
    interaction_id: str,
    value: Any,
    *,
    author: str = "ann",
    kind: str = "correction",
) -> str:
    return submit(
        unit,
        interaction_id=interaction_id,
        kind=kind,
        value=value,
        author=author,
        idempotency_key=None,
        at=clock.now(),
        catalog=CATALOG,
    ).id


def _import(database: Database, folder: Path, rows: list[Mapping[str, Any]]) -> None:
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    import_file(database, SPEC, path, clock=FrozenClock())


def _build(
    database: Database, clock: FrozenClock, settings: BuildSettings = PLAIN
) -> SnapshotRecord:
    with database.write() as unit:
        return build(unit, SPEC, settings=settings, at=clock.now())


def test_only_what_somebody_said_becomes_an_example(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        _call(unit, clock, "never corrected")
        rated = _call(unit, clock, "only rated")
        _say(unit, clock, rated, 1, kind="rating")
        corrected = _call(unit, clock, "corrected text")
        said = _say(unit, clock, corrected, "good")
        _say(unit, clock, _call(unit, clock, "another task", task="tone"), "good")
        found = collect(unit, SPEC)
    (example,) = found.examples
    assert example.input == "corrected text"
    assert example.target == {"label": "good"}
    assert example.origin == {
        "kind": "correction",
        "interaction_id": corrected,
        "feedback_ids": [said],
    }
    assert example.occurred_at == clock.now()
    assert found.dropped == {}


def test_what_is_left_out_is_counted_by_reason(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    waiting = new_id()
    with database.write() as unit:
        _say(unit, clock, waiting, "good")
        _say(unit, clock, _call(unit, clock, "x", task_revision=OTHER.revision), "mixed")
        _say(unit, clock, _call(unit, clock, "  "), "good")
        _say(unit, clock, _call(unit, clock, ""), "good")
        _say(unit, clock, _call(unit, clock, [{"role": "user"}]), "good")
    early = new_id()
    with database.write() as unit:
        _say(unit, clock, early, "splendid")
        late = record.InteractionRecord(
            id=early,
            created_at=clock.now(),
            status="failed",
            input="it came late",
            latency_ms=1.0,
            task="mood",
            task_revision=SPEC.revision,
        )
        record.insert(unit, [late])
        found = collect(unit, SPEC)
    assert found.examples == ()
    assert found.dropped == {
        "no-interaction": 1,
        "other-revision": 1,
        "empty-input": 3,
        "unfit-target": 1,
    }
    with pytest.raises(Invalid, match="1 no-interaction") as refused:
        _build(database, clock)
    assert refused.value.code == "no-examples"
    _import(database, tmp_path, [{"text": "fit", "label": "good"}])
    assert _build(database, clock).dropped == found.dropped


def test_a_failed_call_that_was_corrected_is_an_example(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        call = _call(unit, clock, "no model could say", output=None)
        _say(unit, clock, call, "good")
        assert [e.input for e in collect(unit, SPEC).examples] == ["no model could say"]


def test_what_is_new_is_counted_up_to_a_number(
    database: Database, clock: FrozenClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page: calls of which more was said than a page holds, and calls of no use, too."""
    monkeypatch.setattr(curate, "_PAGE", 2)
    began = clock.now()
    with database.write() as unit:
        for texts in ("old", " ", "one", "two", "three"):
            clock.advance(1)
            call = _call(unit, clock, texts)
            for number in range({"one": 7, "two": 2}.get(texts, 1)):
                _say(unit, clock, call, "good", author=f"ann {number}")
        _say(unit, clock, new_id(), "good")
        _say(unit, clock, _call(unit, clock, "x", task_revision=OTHER.revision), "mixed")
        _say(unit, clock, _call(unit, clock, "another task", task="tone"), "good")
    _import(database, tmp_path, [{"text": "fit", "label": "good"}])
    with database.read() as unit:
        found = [count_new(unit, SPEC, most=most) for most in (1, 3, 4, 5, 100)]
        later = count_new(unit, SPEC, after=began + timedelta(seconds=2), most=100)
        none = count_new(unit, SPEC, after=clock.now() + timedelta(days=1), most=100)
    assert (found, later, none) == ([1, 3, 4, 5, 5], 3, 0)


def test_authors_are_weighed_and_truth_outweighs_them(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        call = _call(unit, clock, "disputed")
        for author, label in (("ann", "good"), ("bo", "bad"), ("cy", "bad"), ("ann", "bad")):
            clock.advance(1)
            _say(unit, clock, call, label, author=author)
        _say(unit, clock, call, "good", author="cy")
        (example,) = collect(unit, SPEC).examples
        assert (example.target, example.quality) == ({"label": "bad"}, 0.666667)
        truth = _say(unit, clock, call, "good", author="ann", kind="outcome")
        (example,) = collect(unit, SPEC).examples
    assert (example.target, example.quality) == ({"label": "good"}, 1.0)
    assert example.origin["kind"] == "outcome"
    assert example.origin["feedback_ids"] == [truth]


@pytest.mark.parametrize(
    ("fields", "group"),
    [
        ({"tags": {"document": "d7"}, "unit": "f" * 32}, "group:d7"),
        ({"tags": {"group": "g1", "document": "d7"}}, "group:g1"),
        ({"unit": "f" * 32}, "unit:" + "f" * 32),
        ({"tags": {"colour": "red"}}, text_group("a text")),
        ({}, text_group("a text")),
    ],
)
def test_the_group_of_a_call(
    sqlite_database: Database, clock: FrozenClock, fields: dict[str, Any], group: str
) -> None:
    with sqlite_database.write() as unit:
        _say(unit, clock, _call(unit, clock, "A text!", **fields), "good")
        (example,) = collect(unit, SPEC).examples
    assert example.group == group


def test_a_call_that_named_no_unit_belongs_to_its_text(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    call = record.InteractionRecord(
        id=new_id(),
        created_at=clock.now(),
        status="answered",
        input="A text!",
        latency_ms=1.0,
        task="mood",
        task_revision=SPEC.revision,
    )
    with sqlite_database.write() as unit:
        unit.execute(insert(table_of(Meta)).values(name="salt", value="5a17"))
        record.insert(unit, [structs.replace(call, unit=pseudonym(bytes.fromhex("5a17"), call.id))])
        _say(unit, clock, call.id, "good")
        (example,) = collect(unit, SPEC).examples
    assert example.group == text_group("a text")


def test_a_window_bounds_calls_and_imports(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    start = clock.now()
    rows = [
        {"text": "older", "label": "good", "published": "2025-12-31"},
        {"text": "now", "label": "good"},
    ]
    _import(database, tmp_path, rows)
    with database.write() as unit:
        for text in ("day 0", "day 1"):
            _say(unit, clock, _call(unit, clock, text), "good")
            clock.advance(86_400)
        day = start + timedelta(days=1)
        since = collect(unit, SPEC, since=start)
        until = collect(unit, SPEC, until=day)
    assert {example.input for example in since.examples} == {"now", "day 0", "day 1"}
    assert {example.input for example in until.examples} == {"older", "now", "day 0"}


def _fill(database: Database, clock: FrozenClock, folder: Path, order: int) -> None:
    """The same statements and rows in one order or the other, under other ids and times."""
    rows = [{"text": f"row {n}", "label": "good" if n % 3 else "bad"} for n in range(40)]
    rows += [{"text": "Row 1!", "label": "good", "weight": 2}]
    _import(database, folder, rows[::order])
    calls = [(f"call {n}", "good" if n % 2 else "bad", f"d{n % 9}") for n in range(40)]
    calls += [("row 3", "good", "d1")]
    with database.write() as unit:
        for text, label, document in calls[::order]:
            clock.advance(order)
            call = _call(unit, clock, text, tags={"document": document})
            _say(unit, clock, call, label)


def test_the_same_data_has_the_same_name(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _fill(database, clock, tmp_path, 1)
    first = _build(database, clock)
    assert first.content_hash == (
        "4ea8a7f222c98a6f490ce92ccfa40f5841a5b47f1d265008b55a73c807c8ac03"
    )
    assert first.counts["train"] + first.counts["valid"] + first.counts["test"] == 80
    assert first.dropped == {"duplicate": 1, "conflicting": 1}
    clock.advance(60)
    again = _build(database, clock)
    assert again == replace(first, rebuilt_at=clock.now())
    with database.read() as unit:
        assert list_snapshots(unit) == [again]


def test_arrival_order_ids_and_times_do_not_name_it(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path, sqlite_template: Path
) -> None:
    _fill(sqlite_database, clock, tmp_path, 1)
    second = Database(f"sqlite:///{tmp_path / 'second.db'}")
    (tmp_path / "second.db").write_bytes(sqlite_template.read_bytes())
    _fill(second, FrozenClock(), tmp_path, -1)
    one, other = _build(sqlite_database, clock), _build(second, FrozenClock())
    second.close()
    assert one.content_hash == other.content_hash
    assert one.id != other.id


def test_a_snapshot_stays_when_its_data_goes(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _fill(database, clock, tmp_path, 1)
    built = _build(database, clock, BuildSettings(split=SplitSettings(max_test=5)))
    with database.write() as unit:
        unit.execute(delete(table_of(ImportedExample)))
        everything = load_examples(unit, built.id)
        test = load_examples(unit, built.id, splits=["test"])
    assert len(everything) == 80
    assert [e for e in everything if e.split == "test"] == test
    assert len(test) == built.counts["test"] <= 5
    labels = built.counts["labels"]["test"]
    assert sum(labels.values()) == len(test)
    assert list(labels) == ["bad", "good"]
    hashes = [example.content_hash for example in everything]
    assert hashes == sorted(hashes)
    later = _build(database, clock)
    assert later.content_hash != built.content_hash
    assert later.counts["train"] < built.counts["train"]


def test_scores_are_summed_up(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        for n in range(5):
            call = _call(unit, clock, f"t{n}", task="tone", task_revision=SCORE.revision)
            _say(unit, clock, call, n / 4)
        built = build(
            unit, SCORE, settings=BuildSettings(split=SplitSettings(test=0)), at=clock.now()
        )
        values = [e.target["value"] for e in load_examples(unit, built.id, splits=["train"])]
    found = built.counts["values"]
    assert found["test"] is None
    assert found["train"]["mean"] == pytest.approx(sum(values) / len(values))
    assert (found["train"]["min"], found["train"]["max"]) == (min(values), max(values))


def test_snapshots_are_found_by_id_prefix_and_latest(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _import(database, tmp_path, [{"text": "one", "label": "good"}])
    first = _build(database, clock)
    clock.advance(1)
    _import(database, tmp_path, [{"text": "two", "label": "bad"}])
    second = _build(database, clock)
    with database.read() as unit:
        assert get(unit, first.id) == first
        assert get(unit, first.short_hash) == first
        assert get(unit, "latest", "mood") == second
        assert list_snapshots(unit, "mood") == [second, first]
        assert list_snapshots(unit, "tone") == []
        with pytest.raises(NotFound):
            get(unit, "latest", "tone")
        with pytest.raises(NotFound):
            get(unit, new_id())
        with pytest.raises(NotFound):
            get(unit, first.id, "tone")
        for name in ("latest", "xyz", "%", "ab"):
            with pytest.raises(Invalid):
                get(unit, name)


def test_the_latest_is_the_one_that_was_built_last(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _import(database, tmp_path, [{"text": f"row {n}", "label": "good"} for n in range(9)])
    first = _build(database, clock)
    clock.advance(1)
    second = _build(database, clock, BuildSettings(split=SplitSettings(test=0.5)))
    clock.advance(1)
    again = _build(database, clock)
    assert (again.id, again.created_at) == (first.id, first.created_at)
    with database.read() as unit:
        assert get(unit, "latest", "mood") == again
        assert list_snapshots(unit, "mood") == [again, second]


def test_a_prefix_that_several_have_is_refused(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _import(sqlite_database, tmp_path, [{"text": "one", "label": "good"}])
    built = _build(sqlite_database, clock)
    twin = replace(built, id=new_id(), content_hash=built.content_hash[:60] + "ffff")
    with sqlite_database.write() as unit:
        from inhouse.datasets.tables import Snapshot

        row = {name: getattr(twin, name) for name in SnapshotRecord.__slots__}
        unit.execute(insert(table_of(Snapshot)).values(**row))
        with pytest.raises(Invalid, match="several"):
            get(unit, built.content_hash[:8])


def test_splits_survive_storage_without_shared_groups(
    database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    _fill(database, clock, tmp_path, 1)
    built = _build(database, clock)
    with database.read() as unit:
        groups: dict[str, set[str]] = {}
        for example in load_examples(unit, built.id):
            groups.setdefault(example.group, set()).add(example.split)
    assert all(len(splits) == 1 for splits in groups.values())
    assert len(groups) > 40


def test_chats_passed_through_make_no_examples(database: Database, clock: FrozenClock) -> None:
    spec = TaskSpec(name="talk", kind=TaskKind.TEXT, description="", prompt="")
    with database.write() as unit, pytest.raises(Invalid) as caught:
        build(unit, spec, settings=BuildSettings(), at=clock.now())
    assert caught.value.code == "task-without-examples"


def test_spans_are_learned_by_place_and_counted_by_type(
    database: Database, clock: FrozenClock
) -> None:
    spec = TaskSpec(
        name="names", kind=TaskKind.SPANS, description="", labels=("PERSON", "PLACE"), prompt="x"
    )
    quoted = [{"text": "Ada", "label": "PERSON"}, {"text": "Rome", "label": "PLACE"}]
    with database.write() as unit:
        for text, spans in (("Ada left Rome", quoted), ("Nobody came", [])):
            fields = {"task": "names", "task_revision": spec.revision, "output": {"spans": []}}
            call = _call(unit, clock, text, **fields)
            _say(unit, clock, call, {"spans": spans})
        built = build(unit, spec, settings=PLAIN, at=clock.now())
        examples = {example.input: example.target for example in load_examples(unit, built.id)}
    assert examples["Nobody came"] == {"spans": []}
    assert examples["Ada left Rome"]["spans"] == [
        {"start": 0, "end": 3, "label": "PERSON", "text": "Ada"},
        {"start": 9, "end": 13, "label": "PLACE", "text": "Rome"},
    ]
    by_split = built.counts["labels"].values()
    assert sum(split["PERSON"] for split in by_split) == 1
    assert sum(split["PLACE"] for split in by_split) == 1
