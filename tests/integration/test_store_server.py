"""A damaged version under a server: refused, answered by the chain, shown, and put away."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto, helper
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.processors import TemplateProcessing

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.core.errors import Corrupt
from inhouse.inference.base import Question
from inhouse.registry import move, versions
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.store.manifest import Draft, VariantSpec
from inhouse.store.publish import Published
from inhouse.testing.upstream_server import ScriptedUpstream

ONNX = VariantSpec(id="onnx-fp32", format="onnx", dtype="fp32", files=("encoder.onnx",))
DRAFT = Draft(kind="encoder", license="MIT", variants=(ONNX,))


@pytest.fixture
def app(tmp_path: Path) -> Iterator[App]:
    with ScriptedUpstream({"good": "positive"}) as upstream:
        settings = Settings(
            upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
            tasks={
                "sentiment": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",))
            },
            folder=tmp_path,
        )
        yield bootstrap(settings)


def register(app: App, made: Published) -> None:
    with app.database.write() as unit:
        versions.register(
            unit,
            task="sentiment",
            task_revision=app.catalog.get("sentiment").revision,
            artifact=made.name,
            store_version=made.version,
            manifest_digest=made.manifest_digest,
            recipe="encoder-head.v1",
            run_id=None,
            snapshot_id=None,
            at=app.clock.now(),
        )


def publish_tiny(app: App) -> Published:
    """A registered version that can answer: it says positive to everything."""
    labels = list(app.catalog.get("sentiment").labels)
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.INT64, [1, "n"])
        for name in ("input_ids", "attention_mask", "token_type_ids")
    ]
    weights = [float(label == "positive") for label in labels]
    nodes = [
        helper.make_node("Cast", ["attention_mask"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["ones"], ["one"], axes=[1], keepdims=1),
        helper.make_node("MatMul", ["one", "weights"], ["scores"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        inputs,
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(labels)])],
        [helper.make_tensor("weights", TensorProto.FLOAT, [1, len(labels)], weights)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    words = Tokenizer(WordLevel({"[CLS]": 0, "[SEP]": 1, "[UNK]": 2}, unk_token="[UNK]"))
    words.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    facts = {"kind": "choice", "labels": labels, "temperature": 1.0, "max_pieces": 256}
    with app.store.stage("sentiment") as staging:
        (staging.path / "model.onnx").write_bytes(model.SerializeToString())
        (staging.path / "model.json").write_text(json.dumps({**facts, "serves": "fp32"}))
        words.save(str(staging.path / "tokenizer.json"))
        variant = VariantSpec(id="fp32", format="onnx", dtype="fp32", files=("model.onnx",))
        made = app.store.publish(staging, Draft(kind="encoder", license="MIT", variants=(variant,)))
    register(app, made)
    return made


@pytest.fixture
def made(app: App) -> Published:
    """A registered version with all traffic, one byte of which has changed."""
    with app.store.stage("sentiment") as staging:
        (staging.path / "encoder.onnx").write_bytes(b"\x08weights")
        made = app.store.publish(staging, DRAFT)
    spec = app.catalog.get("sentiment")
    at = app.clock.now()
    register(app, made)
    with app.database.write() as unit:
        move.set_weight(
            unit, spec, candidate="sentiment@1", percent=100, actor="me", reason="", at=at
        )
    weights = made.path / "encoder.onnx"
    weights.chmod(0o644)
    weights.write_bytes(b"\x08Weights")
    return made


@pytest.fixture
def server(app: App, made: Published) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


def ask(server: ServerHandle, method: str, path: str, value: Any = None) -> tuple[int, Any]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    body = None if value is None else json.dumps(value).encode()
    connection.request(method, path, body, {"content-type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, json.loads(content) if content[:1] in b"{[" else content.decode()


def interaction(server: ServerHandle, found: str) -> Any:
    """An interaction, once it is committed."""
    pause = threading.Event()
    for _ in range(3000):
        status, recorded = ask(server, "GET", f"/v1/interactions/{found}")
        if status == 200:
            return recorded
        pause.wait(0.01)
    raise AssertionError(f"{found} was not recorded")


def test_a_damaged_version_is_answered_by_the_chain_and_shown(
    app: App, server: ServerHandle, made: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inhouse.store.examine.sha256_file", None)  # it was read when it was warmed
    for _ in range(3):
        status, answer = ask(server, "POST", "/v1/tasks/sentiment/run", {"input": "Profit rose."})
        assert status == 200, answer
        assert answer["model_version"] == "local/good"
        recorded = interaction(server, answer["interaction_id"])
        first = recorded["attempts"][0]
        assert (first["reference"], first["code"]) == ("sentiment@1", "model-corrupt")
        assert recorded["rescued"]
    _, report = ask(server, "GET", "/v1/store")
    (mark,) = report["quarantined"]
    (finding,) = mark["findings"]
    assert (finding["model"], finding["version"]) == ("sentiment", made.version)
    assert finding["file"] == "encoder.onnx"
    for part in (made.version, "encoder.onnx", finding["expected"], finding["actual"]):
        assert part in finding["message"]
    (stored,) = report["versions"]
    assert (stored["quarantined"], stored["problem"]) == (True, finding["message"])
    assert (report["missing"], report["leases"]) == ([], [])
    _, metrics = ask(server, "GET", "/metrics")
    assert "inhouse_store_quarantined_versions 1.0" in metrics


def test_a_version_is_put_away_only_when_it_serves_no_more(
    server: ServerHandle, made: Published
) -> None:
    path = "/v1/versions/sentiment/1"
    assert ask(server, "GET", path)[1]["status"] == "active"
    assert ask(server, "GET", "/v1/versions/sentiment/2")[0] == 404
    status, refused = ask(server, "POST", f"{path}/archive", {"reason": "damaged"})
    assert (status, refused["code"]) == (409, "version-serves")
    assert "sentiment (candidate)" in refused["detail"]
    assert ask(server, "POST", "/v1/routes/sentiment/rollback", {"reason": "damaged"})[0] == 200
    status, archived = ask(server, "POST", f"{path}/archive", {"reason": "damaged"})
    assert (status, archived["status"]) == (200, "archived")
    assert archived["rejected"]["why"] == "damaged"
    assert ask(server, "POST", f"{path}/restore", {"reason": "no"})[0] == 409


def test_a_scrub_is_asked_for_once(app: App, server: ServerHandle) -> None:
    status, job = ask(server, "POST", "/v1/store/scrub", {"rate_mb_s": 500})
    assert (status, job["name"]) == (200, "store.scrub")
    worker = app.make_worker(1)
    worker.run_next(job["id"])
    _, done = ask(server, "GET", f"/v1/jobs/{job['id']}")
    assert done["name"] == "store.scrub"
    assert ask(server, "POST", "/v1/store/scrub", {"rate_mb_s": 0})[0] == 422


def test_a_version_that_nothing_can_run_is_answered_by_the_chain(
    app: App, server: ServerHandle, made: Published
) -> None:
    (made.path / "encoder.onnx").write_bytes(b"\x08weights")
    app.store.lift("sentiment", made.version)
    status, answer = ask(server, "POST", "/v1/tasks/sentiment/run", {"input": "Profit rose."})
    assert (status, answer["model_version"]) == (200, "local/good")
    (first, _) = interaction(server, answer["interaction_id"])["attempts"]
    assert (first["reference"], first["code"]) == ("sentiment@1", "model-unusable")
    assert app.store.leases() == []


def test_versions_that_are_open_are_held(app: App, made: Published) -> None:
    with pytest.raises(Corrupt, match=r"encoder\.onnx: digest"):
        app.backends.resolve("sentiment@1")
    assert app.store.leases() == []
    sound = publish_tiny(app)
    opened = app.backends.resolve("sentiment@2")
    for path in sound.path.glob("*.onnx"):
        path.chmod(0o644)
        path.write_bytes(b"something else, after it was verified and opened")
    question = Question(task=app.catalog.get("sentiment"), text="Profit rose.", messages=())
    assert asyncio.run(opened.answer(question)).output == {"label": "positive"}
    (lease,) = app.store.leases()
    assert (lease.version, lease.holder) == (sound.version, "sentiment@2")
    asyncio.run(app.backends.close())
    assert app.store.leases() == []
