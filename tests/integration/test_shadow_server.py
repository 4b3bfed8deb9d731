"""Candidates in shadow through a server: certified, rolled back or deaf, and no caller knows."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.main import app as cli
from inhouse.client.sync import Client
from inhouse.db.dialects import table_of
from inhouse.interactions.tables import Interaction
from inhouse.rollout import steer
from inhouse.rollout.declared import plan_of
from inhouse.settings import load_settings
from inhouse.testing.upstream_behaviours import hang
from inhouse.testing.upstream_server import ScriptedUpstream

TOML = """
[upstreams.local]
base_url = "{url}"
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["local/good"]
timeout_s = 600
[tasks.sentiment.rollout]
steps = [50, 100]
margin = 0.4
min_success = 0
max_p95_s = 0
guardrails = ["success"]
shadow_inputs = 5000
"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    script = {"good": "positive", "equal": "negative", "broken": "no such label", "deaf": hang()}
    with ScriptedUpstream(script) as server:
        yield server


@pytest.fixture
def app(upstream: ScriptedUpstream, tmp_path: Path) -> App:
    (tmp_path / "inhouse.toml").write_text(TOML.format(url=upstream.base_url), encoding="utf-8")
    return bootstrap(load_settings(tmp_path, {}))


def begin(http: httpx.Client, candidate: str) -> dict[str, Any]:
    body = {"task": "sentiment", "candidate": candidate, "reason": "because"}
    answer = http.post("/v1/rollouts", json=body)
    assert answer.status_code == 201, answer.text
    begun: dict[str, Any] = answer.json()
    assert (begun["state"], begun["weight_bp"]) == ("shadowing", 0)
    return begun


def call_until(url: str, ended: Callable[[], bool], most: int = 20_000) -> list[Any]:
    """Calls, one after the other, until a condition that is looked at after every tenth."""
    with Client(url) as client:
        found = []
        for number in range(most):
            found.append(client.run("sentiment", f"text {number}"))
            if number % 10 == 0 and ended():
                return found
    raise AssertionError("it did not end")


def kept(app: App) -> tuple[list[Any], list[Any]]:
    """What was recorded: calls, and copies of them."""
    table = table_of(Interaction)
    with app.database.read() as unit:
        rows = unit.execute(select(table)).all()
    return [one for one in rows if not one.shadow_of], [one for one in rows if one.shadow_of]


def test_an_equal_candidate_is_certified_and_ramps(app: App) -> None:
    with serve_in_thread(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        begun = begin(http, "local/equal")
        path = f"/v1/rollouts/{begun['id']}"
        answers = call_until(server.url, lambda: http.get(path).json()["state"] != "shadowing")
        found = http.get(path).json()
        before = [one for one in answers if one.arm == "incumbent"]
        assert all(one.output == {"label": "positive"} for one in before)
        assert {one.model_version for one in before} == {"local/good"}
    assert [one["kind"] for one in found["decisions"]][:2] == ["start", "ramp"]
    assert found["decisions"][1]["weight_bp"] == 5000
    assert found["decisions"][1]["evidence"]["certificate"] >= 20
    served, copies = kept(app)
    assert {(one.reference, one.status) for one in copies} == {("local/equal", "answered")}
    assert {one.arm for one in copies} == {"shadow"}
    assert sorted(one.id for one in served) == sorted(one.interaction_id for one in answers)
    assert {one.shadow_of for one in copies} <= {one.id for one in served}


def test_a_wrong_candidate_is_rolled_back_by_labels(app: App) -> None:
    """It answers every copy, in time and validly: only labels tell that it is wrong."""
    with serve_in_thread(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        plan = {"guardrails": ["success", "correct"], "promote_on": ["correct"], "audit": 1.0}
        body = {"task": "sentiment", "candidate": "local/equal", "reason": "because", "plan": plan}
        begun = http.post("/v1/rollouts", json=body)
        assert begun.status_code == 201, begun.text
        path, audits = f"/v1/rollouts/{begun.json()['id']}", "/v1/tasks/sentiment/audit"

        def label() -> bool:
            drawn = http.get(audits, params={"limit": 100})
            if drawn.status_code == 404:  # it ended since the last look
                return True
            for one in drawn.json():
                assert one["output"] == {"label": "positive"}, "what the caller got"
                said = {"interaction_id": one["interaction_id"], "output": "positive"}
                http.post(audits, json=said)
            return bool(http.get(path).json()["ended_at"])

        answers = call_until(server.url, label)
        found = http.get(path).json()
    assert (found["state"], found["decisions"][-1]["kind"]) == ("rolled_back", "roll_back")
    assert found["shadow"]["labels"] >= 5
    assert {one.model_version for one in answers} == {"local/good"}


def test_a_broken_candidate_is_rolled_back_and_nobody_saw_it(
    app: App, upstream: ScriptedUpstream
) -> None:
    with serve_in_thread(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        begun = begin(http, "local/broken")
        path = f"/v1/rollouts/{begun['id']}"
        answers = call_until(server.url, lambda: bool(http.get(path).json()["ended_at"]))
        found = http.get(path).json()
        page = http.get("/v1/interactions", params={"arm": "shadow", "limit": 1}).json()
        metrics = http.get("/metrics").text
    assert found["state"] == "rolled_back"
    assert [one["kind"] for one in found["decisions"]] == ["start", "roll_back"]
    assert {(one.arm, one.model_version) for one in answers} == {("incumbent", "local/good")}
    assert {one.error_code for one in kept(app)[1]} == {"unparsable"}
    assert page["items"][0]["shadow_of"] in {one.interaction_id for one in answers}
    assert 'inhouse_shadow_calls_total{status="failed",task="sentiment"}' in metrics


def test_a_deaf_candidate_delays_nobody_and_the_end_loses_nothing(
    app: App, upstream: ScriptedUpstream
) -> None:
    """Every call is answered while the first copy still waits for its answer."""
    with serve_in_thread(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        start = ["rollout", "start", "sentiment", "--to", "local/deaf", "--shadow", "9", "--json"]
        done = CliRunner().invoke(cli, ["--dir", str(app.settings.folder), *start])
        assert done.exit_code == 0, done.output
        begun = json.loads(done.stdout)
        assert begun["plan"]["shadow_inputs"] == 9
        answers = call_until(server.url, lambda: upstream.hits["deaf"] > 0)
        with Client(server.url) as client:
            answers += [client.run("sentiment", f"more {number}") for number in range(20)]
        assert 1 <= upstream.hits["deaf"] <= 8
        assert http.get(f"/v1/rollouts/{begun['id']}").json()["state"] == "shadowing"
    served, copies = kept(app)
    assert copies == []
    assert sorted(one.id for one in served) == sorted(one.interaction_id for one in answers)


def test_a_paused_shadow_asks_nothing_until_it_goes_on(
    app: App, upstream: ScriptedUpstream
) -> None:
    with serve_in_thread(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        path = f"/v1/rollouts/{begin(http, 'local/equal')['id']}"
        while not app.shadows.targets:
            http.get("/healthz")
        assert http.post(f"{path}/pause", json={"reason": "because"}).status_code == 200
        while app.shadows.targets:
            http.get("/healthz")
        with Client(server.url) as client:
            quiet = {client.run("sentiment", f"quiet {n}").interaction_id for n in range(20)}
        assert http.post(f"{path}/resume", json={"reason": "because"}).status_code == 200
        before = upstream.hits["equal"]
        call_until(server.url, lambda: upstream.hits["equal"] > before)
    served, copies = kept(app)
    assert copies
    assert quiet <= {one.id for one in served}
    assert not quiet & {one.shadow_of for one in copies}


def test_an_audit_over_http_and_by_command(app: App) -> None:
    settings = app.settings.folder / "inhouse.toml"
    told = settings.read_text(encoding="utf-8").replace("shadow_inputs = 5000", "audit = 1.0")
    settings.write_text(told, encoding="utf-8")
    app = bootstrap(load_settings(app.settings.folder, {}))
    path = "/v1/tasks/sentiment/audit"
    with serve_in_thread(app) as server, httpx.Client(base_url=server.url, timeout=60) as http:
        assert http.get(path).status_code == 404
        with Client(server.url) as client:
            early = client.run("sentiment", "early")
            body = {"task": "sentiment", "candidate": "local/equal", "reason": "because"}
            assert http.post("/v1/rollouts", json=body).json()["plan"]["audit"] == 1.0
            ids = [client.run("sentiment", f"text {number}").interaction_id for number in range(4)]
        app.recorder.flush()
        found = http.get(path).json()
        assert [one["interaction_id"] for one in found] == ids[::-1]
        assert set(found[0]) == {"interaction_id", "input", "output"}
        label = {"interaction_id": ids[0], "correct": False}
        assert http.post(path, json=label).status_code == 201
        assert http.post(path, json={**label, "correct": True}).json()["code"] == "audit-labelled"
        assert http.post(path, json={"interaction_id": ids[1]}).json()["code"] == "audit-value"
        unchosen = http.post(path, json={**label, "interaction_id": early.interaction_id})
        assert (unchosen.status_code, unchosen.json()["code"]) == (409, "audit-not-drawn")
        said = {"interaction_id": ids[1], "kind": "audit", "value": {"correct": True}}
        assert http.post("/v1/feedback", json=said).status_code == 422

    def run(*words: str) -> Any:
        command = ["--dir", str(app.settings.folder), "feedback", "audit", "sentiment", *words]
        done = CliRunner().invoke(cli, command)
        assert done.exit_code == 0, done.output + str(done.exception)
        return json.loads(done.stdout) if "--json" in words else done.stdout

    assert [one["interaction_id"] for one in run("--list", "2", "--json")] == ids[:1:-1]
    assert run("--id", ids[1], "--value", "negative", "--json")["kind"] == "audit"
    assert "audit of" in run("--id", ids[2], "--wrong")
    assert ids[3] in run()
    run("--id", ids[3], "--correct")
    assert run() == "nothing waits for a label\n"


@pytest.mark.full
def test_a_kill_loses_no_answer(app: App, upstream: ScriptedUpstream) -> None:
    """``kill -9`` of a durable server while copies are under way."""
    folder = app.settings.folder
    settings = folder / "inhouse.toml"
    told = settings.read_text(encoding="utf-8")
    settings.write_text(told + '[recording]\ndurability = "durable"\n', encoding="utf-8")
    spec, at = app.catalog.get("sentiment"), app.clock.now()
    plan = plan_of(app.settings.tasks["sentiment"].rollout)
    with app.database.write() as unit:
        said: dict[str, Any] = {"actor": "ada", "reason": "", "at": at}
        steer.start(unit, spec, candidate="local/equal", plan=plan, **said)
    command = [sys.executable, "-m", "inhouse.cli.main", "--dir", str(folder), "serve"]
    pipe = subprocess.PIPE
    with subprocess.Popen([*command, "--port", "0"], stdout=pipe, text=True) as server:
        assert server.stdout is not None
        url = server.stdout.readline().split()[1]
        before = upstream.hits["equal"]
        try:
            answers = call_until(url, lambda: upstream.hits["equal"] > before + 20)
        finally:
            server.kill()
    served, copies = kept(app)
    assert {one.interaction_id for one in answers} <= {one.id for one in served}
    assert {one.shadow_of for one in copies} <= {one.id for one in served}
    assert len(copies) == len({one.shadow_of for one in copies})
