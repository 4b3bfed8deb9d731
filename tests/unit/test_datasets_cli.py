"""``inhouse dataset``, ``feedback``, ``independence``: in words, as JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from inhouse.cli import context, dataset, feedback, independence
from inhouse.core.errors import Invalid, NotFound
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.feedback.submit import list_for
from inhouse.interactions import record
from inhouse.interactions.content import EVERYTHING
from inhouse.settings import Settings
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

root = typer.Typer()
root.add_typer(dataset.app)
root.add_typer(feedback.app)
root.add_typer(independence.app)


@pytest.fixture
def app(
    sqlite_database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> SimpleNamespace:
    """The parts of the product that these commands use, over a fresh database."""
    app = SimpleNamespace(
        database=sqlite_database,
        catalog=Catalog([SPEC]),
        clock=clock,
        content=EVERYTHING,
        settings=Settings(),
    )
    opened = context.Context(Path())
    opened.__dict__["app"] = app
    monkeypatch.setattr(context, "_context", opened)
    return app


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(root, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def _json(*arguments: str) -> Any:
    return json.loads(_run(*arguments, "--json"))


def _call(app: SimpleNamespace, text: str = "a text") -> str:
    made = record.InteractionRecord(
        id=new_id(),
        created_at=app.clock.now(),
        status="answered",
        input=text,
        latency_ms=1.0,
        task="mood",
        task_revision=SPEC.revision,
        reference="hosted/large",
        hosting="external",
        arm="incumbent",
    )
    with app.database.write() as unit:
        record.insert(unit, [made])
    return made.id


def test_from_a_file_to_a_snapshot(app: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "news.csv"
    rows = "".join(f"text {n},{'good' if n % 3 else 'bad'}\n" for n in range(100))
    path.write_text("headline,label\n" + rows + "x,great\n", encoding="utf-8")
    said = _json("dataset", "import", "mood", str(path), "--column", "text=headline")
    assert (said["read"], said["added"], said["bad"][0][0]) == (101, 100, 102)
    assert "duplicate 100, bad 1" in _run(
        "dataset", "import", "mood", str(path), "--column", "text=headline"
    )
    built = _json("dataset", "build", "mood", "--max-test", "10", "--test-fraction", "0.3")
    assert built["counts"]["test"] == 10
    assert built["settings"]["max_test"] == 10
    assert _json("dataset", "show", "latest", "--task", "mood") == built
    assert [found["id"] for found in _json("dataset", "list")] == [built["id"]]
    text = _run("dataset", "show", built["content_hash"][:12])
    assert "snapshot " + built["content_hash"][:12] in text
    assert "test 10" in text
    assert built["id"] in _run("dataset", "list", "mood")


def test_times_bound_a_snapshot(app: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "news.jsonl"
    rows = [{"text": f"t{d}", "label": "good", "published": f"2026-01-0{d}"} for d in range(1, 6)]
    path.write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    _run("dataset", "import", "mood", str(path))
    cut = _json("dataset", "build", "mood", "--since", "2026-01-02", "--test-after", "2026-01-03")
    assert sum(cut["counts"][split] for split in ("train", "valid", "test")) == 4
    assert cut["counts"]["test"] == 2
    newest = _json("dataset", "build", "mood", "--newest", "--until", "2026-01-05T00:00:00+00:00")
    assert newest["settings"]["newest"] is True


def test_feedback_is_added_once(app: SimpleNamespace) -> None:
    call = _call(app)
    first = _json("feedback", "add", call, "--value", "good", "--author", "ann")
    assert first["value"] == {"label": "good"}
    again = _json("feedback", "add", call, "--value", '{"label": "good"}', "--author", "ann")
    assert again == first
    rating = _json("feedback", "add", call, "--kind", "rating", "--value", "true")
    assert rating["value"] == 1.0
    comment = _json("feedback", "add", call, "--kind", "comment", "--value", "1")
    assert comment["value"] == "1"
    assert f"correction of {call}" in _run("feedback", "add", call, "--value", "bad")
    with app.database.read() as unit:
        assert len(list_for(unit, call)) == 4


def test_feedback_comes_from_a_file(app: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "said.jsonl"
    lines = [{"interaction_id": _call(app), "kind": "correction", "value": "good"}, {"kind": "x"}]
    path.write_text("\n".join(json.dumps(line) for line in lines), encoding="utf-8")
    said = _json("feedback", "import", str(path), "--author", "ann")
    assert (said["read"], said["added"], said["bad"][0][0]) == (2, 1, 2)
    assert "added 0, repeated 1, bad 1" in _run("feedback", "import", str(path), "--author", "ann")


def test_independence_is_said_with_its_parts(app: SimpleNamespace) -> None:
    assert "unknown" in _run("independence")
    assert _json("independence")["score"] is None
    for _ in range(3):
        _call(app)
    app.clock.advance(60)
    report = _json("independence", "--days", "30")
    assert (report["score"], report["sources_formula"], report["days"]) == (0.0, 30.0, 30)
    assert report["parts"]["external_share"] == 1.0
    assert report["tasks"][0]["external"] == 3
    assert _json("independence", "--until", "2026-01-01")["score"] is None
    span = _json("independence", "--since", "2025-12-31T23:00:00Z", "--until", "2026-01-01T01:00")
    assert (span["score"], span["days"]) == (0.0, 1)
    text = _run("independence")
    assert "independence 0.0 of 100" in text
    assert "next: train an own model for mood" in text
    assert "+100 points" in text


def test_refusals_reach_the_caller(app: SimpleNamespace, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        _run("dataset", "build", "nope")
    with pytest.raises(Invalid, match="nothing to learn from"):
        _run("dataset", "build", "mood")
    with pytest.raises(NotFound):
        _run("dataset", "import", "mood", str(tmp_path / "none.csv"))
    with pytest.raises(Invalid):
        _run("feedback", "add", "42", "--value", "good")
    with pytest.raises(Invalid):
        _run("dataset", "build", "mood", "--since", "yesterday")
    result = CliRunner().invoke(root, ["dataset", "import", "mood", "x.csv", "--column", "text"])
    assert result.exit_code == 2
