"""The demo, as a newcomer runs it, and every command that it prints, as a doubter runs them."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from inhouse.testing.upstream_exchange import Request
from inhouse.testing.upstream_server import ScriptedUpstream

pytestmark = pytest.mark.models

TEXTS = Path(__file__).parents[2] / "src" / "inhouse" / "cli" / "demo" / "texts.csv"


Forked = Callable[..., subprocess.CompletedProcess[str]]


def _rows() -> list[dict[str, str]]:
    with TEXTS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _write(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["text", "label", "group"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _inhouse(*arguments: str, store: Path) -> subprocess.CompletedProcess[str]:
    """A command as a person gives it, in a process that begins with nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "inhouse.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=1800,
        env=_environment(store),
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def _environment(store: Path) -> dict[str, str]:
    import os

    kept = {k: v for k, v in os.environ.items() if not k.startswith("INHOUSE_")}
    return {**kept, "INHOUSE_STORE__PATH": str(store), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def _story(folder: Path) -> list[dict[str, Any]]:
    return json.loads((folder / ".inhouse" / "story.json").read_text())


def _at(document: Any, path: str) -> Any:
    """Follow ``a.0.b`` into a JSON document; keys may hold dots themselves."""
    if not path:
        return document
    if isinstance(document, list):
        head, _, tail = path.partition(".")
        return _at(document[int(head)], tail)
    for key in sorted(document, key=len, reverse=True):
        if path == key or path.startswith(key + "."):
            return _at(document[key], path[len(key) + 1 :])
    raise AssertionError(f"{path} is not in {list(document)}")


def _recompute(folder: Path, forked: Forked, *, step: str = "") -> int:
    """Run every command of the story, or of one step, and compare what it prints with what was
    told."""
    answers: dict[tuple[str, ...], Any] = {}
    compared = 0
    for line in _story(folder):
        if step not in ("", line["step"]):
            continue
        command = tuple(line["command"])
        if not command:
            assert not line["figures"], line
            continue
        if command not in answers:
            done = forked("--dir", str(folder), *command)
            answers[command] = json.loads(done.stdout)
        for path, told in line["figures"].items():
            found = _at(answers[command], path)
            if isinstance(told, float) and isinstance(found, int | float):
                assert found == pytest.approx(told, abs=1e-9), (line["text"], path)
            else:
                assert found == told, (line["text"], path)
            compared += 1
    return compared


def _decision(figures: dict[str, Any]) -> tuple[str, int]:
    """What was decided, and the weight afterwards."""
    kind, weight = (
        next(value for path, value in figures.items() if path.endswith(name))
        for name in (".kind", ".weight_bp")
    )
    return kind, weight


@pytest.fixture
def forked(inhouse: Forked, tmp_path: Path, weights_store: Path) -> Forked:
    """Runs a command, and tells what it said when it ends as expected."""

    def run(*arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        done = inhouse(list(arguments), tmp_path, _environment(weights_store))
        assert done.returncode == expect, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return run


@pytest.fixture
def strong_general() -> Iterator[ScriptedUpstream]:
    """A general model that knows the labels of nearly every text."""
    known = {row["text"]: row["label"] for row in _rows()}

    def answer(request: Request) -> str:
        prompt = request.messages[0]["content"]
        label = next((label for text, label in known.items() if text in prompt), "neutral")
        return f"Sentiment: {label}"

    with ScriptedUpstream(answer) as server:
        yield server


class TestTheTextsInTheBox:
    """A class of its own, so that a worker of its own runs it: it is the longest of all."""

    def test_the_story(self, tmp_path: Path, weights_store: Path, forked: Forked) -> None:
        folder = tmp_path / "demo"
        told = _inhouse("demo", "--dir", str(folder), store=weights_store).stdout
        assert "gate: pass" in told, told[-4000:]
        lines = _story(folder)
        *decided, calls = [line["figures"] for line in lines if line["step"] == "ramp"]
        made = [_decision(figures) for figures in decided]
        forward = [one for one in made if one[0] not in ("hold", "resume")]
        steps = (3000, 5000, 6000, 7000, 8000, 9000)
        assert forward == [
            ("start", 1000),
            *(("advance", weight) for weight in steps),
            ("bake", 9500),
            ("finish", 10_000),
        ]
        assert calls["unanswered"] == 0
        assert calls["own"] >= 80
        assert "failed" not in told
        back, forth = (line["figures"] for line in lines if line["step"] == "rollback")
        assert back["own"] == 0
        assert forth["own"] == forth["calls"]
        before, after = (line["figures"]["score"] for line in lines if "score" in line["figures"])
        assert before == pytest.approx(20.0)
        assert after == pytest.approx(100.0)
        assert _recompute(folder, forked) > 80
        again = forked("demo", "--dir", str(folder)).stdout
        assert "gate: pass" in again
        assert _story(folder) == lines


class TestPoison:
    """Three bad candidates, in a worker of their own."""

    def test_each_is_rolled_back_by_itself(self, tmp_path: Path, forked: Forked) -> None:
        folder = tmp_path / "demo"
        told = forked("demo", "--poison", "--dir", str(folder)).stdout
        assert "3 of 3 poisoned candidates were rolled back; nobody saw an error" in told
        lines = _story(folder)
        for step in ("random", "late", "dead"):
            figures: dict[str, Any] = {}
            for line in lines:
                if line["step"] == step:
                    figures |= line["figures"]
            assert figures["0.decisions.0.kind"] == "start"
            assert figures["0.state"] == "rolled_back"
            assert figures["0.reading.candidate"] >= 1
            assert figures["unanswered"] == 0
            if step != "late":
                assert figures["status"] == "rejected"
                assert figures["rejected"]["by"] == "rollout"
                assert "worse than the incumbent" in figures["rejected"]["why"]
        assert _recompute(folder, forked, step="random") > 10
        self._one_that_stayed(folder, forked)

    def _one_that_stayed(self, folder: Path, forked: Forked) -> None:
        """Told again from what is stored, it does not pass when one of them was not caught."""
        path = folder / ".inhouse" / "demo.json"
        stored = json.loads(path.read_text(encoding="utf-8"))
        stored["steps"]["late"]["rolled_back"] = False
        path.write_text(json.dumps(stored), encoding="utf-8")
        told = forked("demo", "--poison", "--dir", str(folder), expect=1)
        assert "2 of 3 poisoned candidates were rolled back" in told.stdout


@pytest.fixture
def weak_general() -> Iterator[ScriptedUpstream]:
    """A general model that says the same of everything."""
    with ScriptedUpstream({"weak": "neutral"}) as server:
        yield server


def test_shuffled_labels_end_with_a_failed_gate(
    tmp_path: Path, weak_general: ScriptedUpstream, forked: Forked
) -> None:
    rows = _rows()
    labels = [row["label"] for row in rows]
    random.Random(7).shuffle(labels)
    data = _write(
        tmp_path / "shuffled.csv",
        [{**row, "label": label} for row, label in zip(rows, labels, strict=True)],
    )
    folder = tmp_path / "demo"
    general = ["--base-url", weak_general.base_url, "--model", "weak"]
    arguments = ["demo", "--dir", str(folder), "--data", str(data), *general]
    told = forked(*arguments).stdout
    assert "gate: fail" in told, told[-4000:]
    assert "at most 600 times" in told
    assert not [line for line in _story(folder) if line["step"] in ("ramp", "rollback")]
    assert _recompute(folder, forked) > 20


def test_twenty_rows_are_inconclusive(tmp_path: Path, forked: Forked) -> None:
    data = _write(tmp_path / "few.csv", _rows()[:20])
    folder = tmp_path / "demo"
    told = forked("demo", "--dir", str(folder), "--data", str(data)).stdout
    assert "inconclusive" in told, told[-4000:]
    assert not [line for line in _story(folder) if line["step"] == "ramp"]
    assert _recompute(folder, forked) > 5


def test_a_better_general_model_is_kept(
    tmp_path: Path, strong_general: ScriptedUpstream, forked: Forked
) -> None:
    data = _write(tmp_path / "texts.csv", _rows())
    folder = tmp_path / "demo"
    arguments = ["--base-url", strong_general.base_url, "--model", "strong"]
    told = forked("demo", "--dir", str(folder), "--data", str(data), *arguments).stdout
    assert "gate: fail" in told, told[-4000:]
    assert "keep the general model" in told
    assert _recompute(folder, forked) > 20
    assert len(strong_general.requests) <= 600


@pytest.mark.data
@pytest.mark.full
def test_the_story_on_a_file_of_one_s_own(tmp_path: Path, bench_data: Path, forked: Forked) -> None:
    data = bench_data / "news" / "financial_phrasebank.csv"
    folder = tmp_path / "demo"
    told = forked("demo", "--dir", str(folder), "--data", str(data)).stdout
    lines = _story(folder)
    assert "gate: " in told
    assert any("came in with their labels" in line["text"] for line in lines)
    asked = sum(
        line["figures"]["local"]
        for line in lines
        if line["step"] in ("stream", "ramp", "rollback") and "local" in line["figures"]
    )
    assert asked + 120 <= 600
    assert _recompute(folder, forked) > 20


def test_what_a_demo_refuses(tmp_path: Path, forked: Forked) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("title,mood\nx,y\n", encoding="utf-8")
    told = forked("demo", "--data", str(bad), expect=2)
    assert "title, mood" in told.stderr
    assert "text,label" in told.stderr
    assert told.stderr.count("\n") == 1
    short = _write(tmp_path / "short.csv", _rows()[:5])
    told = forked("demo", "--data", str(short), expect=2)
    assert "5 different texts" in told.stderr
    told = forked("demo", "--poison", "--data", str(short), expect=2)
    assert "--poison" in told.stderr
    other = tmp_path / "full"
    other.mkdir()
    (other / "letter.txt").write_text("dear", encoding="utf-8")
    told = forked("demo", "--dir", str(other), "--fresh", expect=4)
    assert "holds no demo" in told.stderr
    assert (other / "letter.txt").exists()
