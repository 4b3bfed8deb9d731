"""Taking everything out: examples, calls, the whole project; and logs of other systems in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from sqlalchemy import select
from typer.testing import CliRunner

from inhouse.cli import context, database, dataset, feedback, interactions
from inhouse.core.errors import Conflict, Invalid
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.export import export_tables
from inhouse.db.tables import Meta
from inhouse.db.unit import Database
from inhouse.interactions import record
from inhouse.interactions.content import EVERYTHING
from inhouse.interactions.tables import Interaction
from inhouse.migrations.schema import metadata
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

SPEC = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="{{ input }}"
)
LOG = [
    {"event": "score_mood", "details": {"text": "one", "label": "good"}},
    {"event": "score_mood", "details": {"text": "two", "label": "good", "corrected_label": "bad"}},
    {"event": "other", "details": {}},
]

root = typer.Typer()
for area in (dataset, feedback, interactions, database):
    root.add_typer(area.app)


@pytest.fixture
def app(
    sqlite_database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> SimpleNamespace:
    """The parts of the product that these commands use, over a fresh database."""
    wired = SimpleNamespace(
        database=sqlite_database, catalog=Catalog([SPEC]), clock=clock, content=EVERYTHING
    )
    opened = context.Context(Path())
    opened.__dict__["app"] = wired
    monkeypatch.setattr(context, "_context", opened)
    monkeypatch.chdir(tmp_path)
    return wired


def _invoke(*arguments: str) -> Any:
    result = CliRunner().invoke(root, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def _call(app: SimpleNamespace, text: str, **fields: Any) -> str:
    values = {"status": "answered", "arm": "incumbent", "task": "mood", **fields}
    made = record.InteractionRecord(
        id=new_id(), created_at=app.clock.now(), input=text, latency_ms=1.0, **values
    )
    with app.database.write() as unit:
        record.insert(unit, [made])
    return made.id


def _snapshot(folder: Path) -> dict[str, Any]:
    rows = "".join(f"text {n},{'good' if n % 3 else 'bad'}\n" for n in range(30))
    (folder / "in.csv").write_text("text,label\n" + rows, encoding="utf-8")
    _invoke("dataset", "import", "mood", "in.csv", "--strict")
    built: dict[str, Any] = json.loads(_invoke("dataset", "build", "mood", "--json").stdout)
    return built


def test_a_snapshot_leaves_and_comes_back(app: SimpleNamespace, tmp_path: Path) -> None:
    built = _snapshot(tmp_path)
    said = _invoke("dataset", "export", "latest", "--task", "mood", "--format", "csv").stdout
    name = f"mood-{built['content_hash'][:12]}.csv"
    assert said == f"{name}: 30 examples, left out nothing\n"
    report = _invoke("dataset", "import", "mood", name).stdout
    assert report.startswith("read 30, added 0, duplicate 30, bad 0\n")
    assert "columns that mean nothing here: quality 30, split 30" in report
    lines = _invoke("dataset", "export", built["id"], "--split", "test", "--out", "-").stdout
    assert len(lines.splitlines()) == built["counts"]["test"]
    out = json.loads(_invoke("dataset", "export", built["id"], "--format", "chat", "--json").stdout)
    assert out["written"] == 30
    assert json.loads((tmp_path / out["file"]).read_text("utf-8").splitlines()[0])["messages"]
    assert [path.name for path in tmp_path.iterdir() if "partial" in path.name] == []


def test_an_export_that_fails_leaves_what_was_there(app: SimpleNamespace, tmp_path: Path) -> None:
    built = _snapshot(tmp_path)
    (tmp_path / "kept.jsonl").write_text("kept", encoding="utf-8")
    with pytest.raises(Invalid, match="carries spans"):
        _invoke("dataset", "export", built["id"], "--format", "conll", "--out", "kept.jsonl")
    assert (tmp_path / "kept.jsonl").read_text("utf-8") == "kept"
    with pytest.raises(Invalid) as refused:
        _invoke("dataset", "export", built["id"], "--out", "nowhere/x.jsonl")
    assert refused.value.code == "out-file"
    assert sorted(path.name for path in tmp_path.glob("*.jsonl")) == ["kept.jsonl"]


def test_calls_leave_with_what_was_said(app: SimpleNamespace) -> None:
    one = _call(app, "one", tags={"source": "wire"})
    app.clock.advance(3600)
    two = _call(app, "two", status="failed")
    _call(app, "three", task="other")
    _invoke("feedback", "add", one, "--value", "good", "--author", "ann")

    def exported(*options: str) -> list[dict[str, Any]]:
        text = _invoke("interactions", "export", *options).stdout
        return [json.loads(line) for line in text.splitlines()]

    first, second = exported("--where", "task=mood")
    assert (first["id"], second["id"]) == (one, two)
    assert [said["value"] for said in first["feedback"]] == [{"label": "good"}]
    assert (first["input"], second["feedback"]) == ("one", [])
    assert [line["id"] for line in exported("--where", "tags.source=wire")] == [one]
    assert [line["id"] for line in exported("--where", "status=failed")] == [two]
    later = app.clock.now().isoformat()
    assert [line["id"] for line in exported("--since", later, "--where", "task=mood")] == [two]
    assert [line["id"] for line in exported("--until", later)] == [one]
    with pytest.raises(Invalid, match="nothing to choose calls by"):
        exported("--where", "input=one")
    assert CliRunner().invoke(root, ["interactions", "export", "--where", "x"]).exit_code == 2


def test_calls_are_looked_for(app: SimpleNamespace) -> None:
    one = _call(app, "rain in Kiel", tags={"source": "wire"}, reference="mood@1", hosting="own")
    app.clock.advance(3600)
    two = _call(app, "sun in Rome", status="failed")

    def found(*options: str) -> list[str]:
        text = _invoke("interactions", "search", *options, "--json").stdout
        return [row["id"] for row in json.loads(text)]

    assert found() == [two, one]
    assert found("--hosting", "own") == found("--text", "KIEL") == [one]
    assert found("--tag", "source=wire") == [one]
    assert found("--since", app.clock.now().isoformat()) == [two]
    assert found("--until", app.clock.now().isoformat()) == [one]
    with pytest.raises(Invalid, match="no tag"):
        found("--tag", "wire")


def test_a_log_comes_in(app: SimpleNamespace, tmp_path: Path) -> None:
    lines = [json.dumps({"timestamp": "2024-01-02T03:04:05", **line}) for line in LOG]
    (tmp_path / "old.jsonl").write_text("\n".join([*lines, "{"]), encoding="utf-8")
    told = _invoke("feedback", "import", "old.jsonl", "--log", "mood")
    assert "read 4, calls 2, of them corrected 1, repeated 0, bad 1" in told.stdout
    assert "other event other: 1" in told.stdout
    assert "line 4: not JSON" in told.stderr
    again = ["feedback", "import", "old.jsonl", "--log", "mood", "--event", "score_mood", "--json"]
    assert json.loads(_invoke(*again).stdout)["repeated"] == 2
    built = json.loads(_invoke("dataset", "build", "mood", "--json").stdout)
    assert sum(built["counts"][split] for split in ("train", "valid", "test")) == 1
    result = CliRunner().invoke(root, ["feedback", "import", "old.jsonl", "--event", "x"])
    assert result.exit_code == 2


def test_everything_leaves(app: SimpleNamespace, tmp_path: Path) -> None:
    call = _call(app, "a \0 text")
    _invoke("feedback", "add", call, "--value", "bad")
    built = _snapshot(tmp_path)
    assert "manifest.json names every file" in _invoke("db", "export", "all").stdout
    folder = tmp_path / "all"
    manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert manifest["format"] == "inhouse.export.v1"
    tables = {table.name for table in metadata().sorted_tables}
    assert set(manifest["left_out"]) < tables
    names = {f"{name}.jsonl" for name in tables - set(manifest["left_out"])} | {"task.jsonl"}
    assert set(manifest["files"]) == names
    assert {path.name for path in folder.iterdir()} == names | {"manifest.json"}
    rows: dict[str, list[Any]] = {}
    for name, about in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert about["sha256"] == hashlib.sha256(content).hexdigest()
        assert about["bytes"] == len(content)
        rows[name] = [json.loads(line) for line in content.splitlines()]
        assert about["rows"] == len(rows[name])
    assert rows["interaction.jsonl"][0]["input"] == "a \0 text"
    assert rows["feedback.jsonl"][0]["value"] == {"label": "bad"}
    assert len(rows["imported_example.jsonl"]) == 30
    assert rows["dataset_snapshot.jsonl"][0]["content_hash"] == built["content_hash"]
    assert len(rows["dataset_snapshot_example.jsonl"]) == 30
    assert rows["task.jsonl"][0]["labels"] == ["bad", "good"]
    with pytest.raises(Conflict, match="not empty"):
        _invoke("db", "export", "all")


def test_secrets_stay(app: SimpleNamespace, tmp_path: Path) -> None:
    with app.database.write() as unit:
        unit.execute(table_of(Meta).insert().values(name="salt", value="c0ffee" * 6))
    _invoke("db", "export", "all")
    written = b"".join(path.read_bytes() for path in (tmp_path / "all").iterdir())
    assert b"c0ffee" not in written


def test_a_whole_export_shows_one_moment(database: Database, tmp_path: Path) -> None:
    """A call that is committed while the first table is read is in no table."""
    table = table_of(Interaction)

    def calls(count: int) -> None:
        at = FrozenClock().now()
        made = [
            record.InteractionRecord(
                id=new_id(), created_at=at, status="answered", input=f"text {n}", latency_ms=1.0
            )
            for n in range(count)
        ]
        with database.write() as unit:
            record.insert(unit, made)

    calls(1_000)
    told: list[int] = []

    def interfere(count: int) -> None:
        told.append(count)
        calls(1)

    tables = {"first": table, "second": table}
    out = tmp_path / "out"
    manifest = export_tables(database, tables, out, beside={}, about={}, progress=interfere)
    assert told == [1_000, 2_000]
    assert manifest["files"]["first.jsonl"]["rows"] == 1_000
    assert manifest["files"]["first.jsonl"] == manifest["files"]["second.jsonl"]
    with database.read() as unit:
        assert len(unit.execute(select(table.c.id)).all()) == 1_002
