"""What is exported comes in again as the same examples, in every format that carries them."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import Conflict, Invalid
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.example import Example
from inhouse.datasets.export import ExportReport, write_snapshot
from inhouse.datasets.formats.choose import ENDINGS
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import SnapshotRecord, build, load_examples
from inhouse.datasets.tables import ImportedExample, Snapshot, SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

CHOICE = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="{{ input }}"
)
SPANS = TaskSpec(
    name="marks", kind=TaskKind.SPANS, description="", labels=("ORG",), prompt="{{ input }}"
)
ODD = [
    "plain",
    'a "quoted", one',
    "line\nbreak",
    "tab\tand \r",
    "caf\u00e9 \U0001f680 e\u0301",
    "=1+1",
]


def _rows(spec: TaskSpec) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for n, text in enumerate(ODD * 3):
        full = f"EU {text} {n} words of its own {n * n}"
        target = {"label": ("bad", "good")[n % 2]}
        if spec is SPANS:
            target = {"spans": [{"start": 0, "end": 2, "label": "ORG"}] if n % 2 else []}
        rows.append({"text": full, **target, "weight": 1 + n % 3, "group": f"g{n % 5}"})
    return rows


def _built(database: Database, spec: TaskSpec, path: Path) -> SnapshotRecord:
    clock = FrozenClock()
    report = import_file(database, spec, path, clock=clock)
    assert report.bad == ()
    with database.write() as unit:
        return build(unit, spec, settings=BuildSettings(), at=clock.now())


def _example(example: Example) -> tuple[Any, ...]:
    return (example.input, dict(example.target), example.weight, example.group, example.split)


def _examples(database: Database, snapshot: SnapshotRecord) -> list[tuple[Any, ...]]:
    with database.read() as unit:
        return [_example(one) for one in load_examples(unit, snapshot.id)]


def _export(
    database: Database, spec: TaskSpec, snapshot: SnapshotRecord, name: str, **options: Any
) -> tuple[bytes, ExportReport]:
    file = BytesIO()
    with database.read() as unit:
        report = write_snapshot(unit, spec, snapshot, file, file_format=name, **options)
    return file.getvalue(), report


def _empty(database: Database) -> None:
    with database.write() as unit:
        unit.execute(table_of(ImportedExample).delete())


def _source(folder: Path, spec: TaskSpec) -> Path:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in _rows(spec)), encoding="utf-8")
    return path


@pytest.mark.parametrize("spec", [CHOICE, SPANS], ids=lambda spec: spec.kind.value)
def test_the_same_snapshot_again(database: Database, tmp_path: Path, spec: TaskSpec) -> None:
    first = _built(database, spec, _source(tmp_path, spec))
    names = ["csv", "jsonl", "parquet", "docbin", *(["conll"] if spec is SPANS else [])]
    for name in names:
        content, report = _export(database, spec, first, name)
        assert report == ExportReport(written=18, left_out={})
        out = tmp_path / f"out.{ENDINGS[name]}"
        out.write_bytes(content)
        _empty(database)
        again = _built(database, spec, out)
        assert _examples(database, again) == _examples(database, first), name
        assert again.content_hash == first.content_hash, name


@pytest.mark.parametrize("group", ["d\t1", "https://example.org/" + "a" * 200, "unit:" + "0f" * 16])
def test_groups_without_a_plain_name_stay_the_same(
    sqlite_database: Database, tmp_path: Path, group: str
) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps({"text": "one text", "label": "good", "group": group}))
    frozen = _built(sqlite_database, CHOICE, path)
    first = _examples(sqlite_database, frozen)
    path.write_bytes(_export(sqlite_database, CHOICE, frozen, "jsonl")[0])
    with sqlite_database.write() as unit:
        for table in (ImportedExample, Snapshot):
            unit.execute(table_of(table).delete())
    assert _examples(sqlite_database, _built(sqlite_database, CHOICE, path)) == first
    if group.startswith("unit:"):
        assert first[0][3] == group


def test_a_chat_carries_texts_and_targets(sqlite_database: Database, tmp_path: Path) -> None:
    first = _built(sqlite_database, CHOICE, _source(tmp_path, CHOICE))
    content, _ = _export(sqlite_database, CHOICE, first, "chat")
    out = tmp_path / "out.chat.jsonl"
    out.write_bytes(content)
    _empty(sqlite_database)
    again = _examples(sqlite_database, _built(sqlite_database, CHOICE, out))
    assert {(text, target["label"]) for text, target, *_ in again} == {
        (text, target["label"]) for text, target, *_ in _examples(sqlite_database, first)
    }


def test_one_split_and_the_count(sqlite_database: Database, tmp_path: Path) -> None:
    snapshot = _built(sqlite_database, CHOICE, _source(tmp_path, CHOICE))
    content, report = _export(sqlite_database, CHOICE, snapshot, "jsonl", split="train")
    lines = [json.loads(line) for line in content.splitlines()]
    assert {line["split"] for line in lines} == {"train"}
    assert len(lines) == report.written == snapshot.counts["train"] > 0
    with pytest.raises(Invalid, match="'dev' is no split"):
        _export(sqlite_database, CHOICE, snapshot, "jsonl", split="dev")


def test_what_was_erased_is_left_out(sqlite_database: Database, tmp_path: Path) -> None:
    snapshot = _built(sqlite_database, CHOICE, _source(tmp_path, CHOICE))
    table = table_of(SnapshotExample)
    with sqlite_database.write() as unit:
        unit.execute(table.update().where(table.c.position == 0).values(input="", target={}))
    content, report = _export(sqlite_database, CHOICE, snapshot, "csv")
    assert report == ExportReport(written=17, left_out={"erased": 1})
    assert content.startswith(b"text,label,")


def test_progress_is_told(sqlite_database: Database, tmp_path: Path) -> None:
    path = tmp_path / "many.csv"
    path.write_text("text,label\n" + "".join(f"text no {n},good\n" for n in range(1100)), "utf-8")
    told: list[int] = []
    snapshot = _built(sqlite_database, CHOICE, path)
    _export(sqlite_database, CHOICE, snapshot, "csv", progress=told.append)
    assert told == [500, 1000]


def test_a_task_that_changed_since_is_refused(sqlite_database: Database, tmp_path: Path) -> None:
    snapshot = _built(sqlite_database, CHOICE, _source(tmp_path, CHOICE))
    other = TaskSpec(
        name="mood", kind=TaskKind.CHOICE, description="", labels=("x", "y"), prompt="{{ input }}"
    )
    with pytest.raises(Conflict) as refused:
        _export(sqlite_database, other, snapshot, "jsonl")
    assert refused.value.code == "other-revision"
