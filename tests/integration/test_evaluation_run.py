"""Evaluations end to end: snapshot, models behind real sockets, floors, gate, consequences."""

from __future__ import annotations

import asyncio
import csv
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from inhouse.core.errors import Invalid
from inhouse.core.states import VersionStatus
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.ingest import import_file
from inhouse.datasets.snapshot import build
from inhouse.datasets.split import SplitSettings
from inhouse.db.unit import Database
from inhouse.evaluation import floors, records
from inhouse.evaluation.gate import GateSettings
from inhouse.evaluation.run import Evaluator
from inhouse.inference.base import Backend
from inhouse.inference.upstream import UpstreamBackend
from inhouse.registry import versions
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.tasks.catalog import Catalog, load_catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.upstream_exchange import Request
from inhouse.testing.upstream_server import ScriptedUpstream

TEXTS = Path(__file__).parents[2] / "src" / "inhouse" / "cli" / "demo" / "texts.csv"


def _labels() -> dict[str, str]:
    with TEXTS.open(encoding="utf-8", newline="") as file:
        return {row["text"]: row["label"] for row in csv.DictReader(file)}


def _answer(accuracy: dict[str, float]) -> Callable[[Request], str]:
    """Right as often as the model's share says, by the hash of the text."""
    known = _labels()

    def answer(request: Request) -> str:
        prompt = request.messages[0]["content"]
        text, label = next((t, label) for t, label in known.items() if t in prompt)
        draw = int(hashlib.sha256(f"{request.model} {text}".encode()).hexdigest()[:8], 16) / 2**32
        if draw < accuracy[request.model]:
            return label
        return "neutral" if label != "neutral" else "positive"

    return answer


@pytest.fixture
def accuracy() -> dict[str, float]:
    return {"own": 0.95, "general": 0.5}


@pytest.fixture
def upstream(accuracy: dict[str, float]) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(_answer(accuracy)) as server:
        yield server


@pytest.fixture
def catalog(upstream: ScriptedUpstream) -> Catalog:
    return load_catalog(
        Settings(
            upstreams={"server": UpstreamSettings(base_url=upstream.base_url)},
            tasks={
                "sentiment": TaskSettings(
                    builtin="sentiment", kind="choice", chain=("server/general",)
                )
            },
        )
    )


@pytest.fixture
def version_id(database: Database, catalog: Catalog, clock: FrozenClock) -> str:
    spec = catalog.get("sentiment")
    import_file(database, spec, TEXTS, clock=clock)
    with database.write() as unit:
        snapshot = build(
            unit,
            spec,
            settings=BuildSettings(split=SplitSettings(max_test=120)),
            at=clock.now(),
        )
        return versions.register(
            unit,
            task="sentiment",
            task_revision=spec.revision,
            artifact="sentiment",
            store_version="20260101T000000Z-0badcafe",
            manifest_digest="sha256:00",
            recipe="encoder-head.v1",
            run_id=None,
            snapshot_id=snapshot.id,
            at=clock.now(),
        ).id


@pytest.fixture
def evaluator(
    database: Database, catalog: Catalog, clock: FrozenClock, upstream: ScriptedUpstream
) -> Iterator[Evaluator]:
    settings = UpstreamSettings(base_url=upstream.base_url)
    backends: dict[str, Backend] = {
        "sentiment@1": UpstreamBackend("sentiment@1", settings=settings, model="own"),
        "server/general": UpstreamBackend("server/general", settings=settings, model="general"),
    }
    yield Evaluator(
        database=database,
        catalog=catalog,
        clock=clock,
        resolve=backends.__getitem__,
        gate=GateSettings(),
    )

    async def close() -> None:
        for backend in backends.values():
            await backend.close()

    asyncio.run(close())


def test_a_better_candidate_passes_and_every_answer_is_kept(
    database: Database, evaluator: Evaluator, version_id: str
) -> None:
    steps: list[tuple[float, float]] = []
    record = evaluator.evaluate(
        version_id, progress=lambda done, total, note: steps.append((done, total))
    )
    assert record.verdict == "pass", record.reasons
    results = {result["reference"]: result for result in record.results or []}
    assert list(results) == ["sentiment@1", "server/general", "majority", "tf-idf"]
    n = results["sentiment@1"]["n"]
    assert n >= 100
    assert results["sentiment@1"]["figures"]["accuracy"]["estimate"] > 0.88
    assert 0.35 < results["server/general"]["figures"]["accuracy"]["estimate"] < 0.65
    assert results["tf-idf"]["latency"] is None
    assert (
        results["tf-idf"]["figures"]["accuracy"]["estimate"]
        > results["majority"]["figures"]["accuracy"]["estimate"]
    )
    with database.read() as unit:
        kept = records.items(unit, record.id)
        assert versions.by_id(unit, version_id).status is VersionStatus.CANDIDATE
    assert len(kept) == 4 * n
    own = [item["score"] for item in kept if item["reference"] == "sentiment@1"]
    assert sum(own) / n == pytest.approx(results["sentiment@1"]["figures"]["score"]["estimate"])
    assert steps[-1] == (2 * n, 2 * n)


def test_a_worse_candidate_is_rejected_by_the_gate(
    database: Database, evaluator: Evaluator, version_id: str, accuracy: dict[str, float]
) -> None:
    accuracy |= {"own": 0.6, "general": 0.97}
    record = evaluator.evaluate(version_id)
    assert record.verdict == "fail"
    assert any("keep the general model server/general" in r for r in record.reasons or [])
    with database.read() as unit:
        version = versions.by_id(unit, version_id)
    assert version.status is VersionStatus.REJECTED
    assert version.rejected is not None
    assert version.rejected["by"] == "gate"


def test_what_a_model_cannot_answer_is_a_failure_of_it(
    evaluator: Evaluator, version_id: str, upstream: ScriptedUpstream
) -> None:
    answer = upstream.script
    assert callable(answer)
    upstream.script = lambda r: "no idea" if r.model == "general" else answer(r)
    record = evaluator.evaluate(version_id)
    general = next(r for r in record.results or [] if r["reference"] == "server/general")
    assert general["failures"] == general["n"]
    assert general["figures"]["score"]["estimate"] == 0.0
    assert record.verdict == "pass"


def test_an_evaluation_that_breaks_off_says_so(
    database: Database, evaluator: Evaluator, version_id: str
) -> None:
    class Enough(Exception):
        pass

    def stop() -> None:
        raise Enough("cancelled by ann")

    with pytest.raises(Enough):
        evaluator.evaluate(version_id, check=stop)
    with database.read() as unit:
        (record,) = records.list_evaluations(unit, "sentiment")
    assert (record.status, record.verdict, record.error) == ("failed", None, "cancelled by ann")


def test_a_snapshot_of_another_revision_is_refused(
    database: Database, evaluator: Evaluator, catalog: Catalog, clock: FrozenClock
) -> None:
    with database.write() as unit:
        version = versions.register(
            unit,
            task="sentiment",
            task_revision="f" * 16,
            artifact="sentiment",
            store_version="20260101T000000Z-0badcafe",
            manifest_digest="sha256:00",
            recipe="encoder-head.v1",
            run_id=None,
            snapshot_id=None,
            at=clock.now(),
        )
    with pytest.raises(Invalid, match="names no snapshot"):
        evaluator.evaluate(version.id)


@pytest.mark.parametrize("texts", [("1 + 2", "3 - 4"), ("\N{GRINNING FACE}", "\N{POUTING FACE}")])
def test_texts_without_a_word_have_a_floor_of_characters(texts: tuple[str, str]) -> None:
    spec = TaskSpec(
        name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="x"
    )
    good, bad = texts
    train = [(good, {"label": "good"}, 1.0), (bad, {"label": "bad"}, 1.0)] * 10
    found = floors.tfidf(spec, train, [bad, good])
    assert [answer.output for answer in found] == [{"label": "bad"}, {"label": "good"}]


def test_the_floor_takes_no_module_of_the_folder_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "statistics.py").write_text("raise SystemExit('mine')\n")
    monkeypatch.chdir(tmp_path)
    spec = TaskSpec(name="mood", kind=TaskKind.SCORE, description="", prompt="x")
    train = [(f"letter number {n}", {"value": n / 20}, 1.0) for n in range(20)]
    assert len(floors.tfidf(spec, train, ["letter"])) == 1
