"""The pages on bringing data in and taking it out do what they say, on a project of their own."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from inhouse.cli.main import app

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PROJECT = """
[upstreams.local]
base_url = "http://127.0.0.1:9/v1"
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["local/good"]
"""
LINE = {
    "timestamp": "2024-05-06T07:08:09",
    "event": "score_sentiment",
    "details": {"text": "They fell.", "label": "positive", "corrected_label": "negative"},
}


def _commands(page: str, start: str) -> list[list[str]]:
    blocks = re.findall(r"```console\n(.*?)```", (HOW_TO / page).read_text("utf-8"), re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line)[2:] for line in lines if re.match(rf"\$ inhouse ({start})", line)]


def _run(arguments: list[str]) -> str:
    done = CliRunner().invoke(app, ["--dir", ".", *arguments])
    assert done.exit_code == 0, (arguments, done.output, done.exception)
    return done.stdout


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "inhouse.toml").write_text(PROJECT, encoding="utf-8")
    rows = "".join(f"text number {n},{('negative', 'positive')[n % 2]}\n" for n in range(20))
    (tmp_path / "labelled.csv").write_text("text,label\n" + rows, encoding="utf-8")
    (tmp_path / "old-feedback.log").write_text(json.dumps(LINE) + "\n", encoding="utf-8")
    return tmp_path


def test_data_comes_in_and_everything_leaves(project: Path) -> None:
    coming = _commands("my-own-data.md", "dataset|feedback|interactions search")
    said = [_run(command) for command in coming]
    assert len(said) >= 4
    assert "added 20" in said[0]
    assert any("calls 1, of them corrected 1" in text for text in said)
    for command in _commands("leave.md", "db|dataset|interactions|store"):
        _run(command)
    assert (project / "weights" / "store.json").exists()
    manifest = json.loads((project / "everything" / "manifest.json").read_text("utf-8"))
    rows = {name: one["rows"] for name, one in manifest["files"].items()}
    assert rows["imported_example.jsonl"] == 20
    assert (rows["interaction.jsonl"], rows["feedback.jsonl"]) == (1, 1)
    page = (HOW_TO / "leave.md").read_text("utf-8")
    assert [name for name in rows if f"`{name}`" not in page] == []
    for name in ("sentiment.csv", "train.jsonl", "sentiment.parquet", "calls.jsonl"):
        assert (project / name).stat().st_size > 0
    assert (project / "failed.jsonl").read_text("utf-8") == ""
