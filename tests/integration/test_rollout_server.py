"""A rollout through a server: moved by its controller, steered over HTTP and by command."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import event
from typer.testing import CliRunner

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.main import app as cli
from inhouse.client.sync import Client
from inhouse.core.errors import Invalid
from inhouse.registry import routes
from inhouse.settings import load_settings
from inhouse.testing.upstream_server import ScriptedUpstream

TOML = """
[upstreams.local]
base_url = "{url}"
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["local/good"]
on_failure = "error"
[tasks.sentiment.rollout]
steps = [50, 100]
margin = 0.2
min_success = 0
max_p95_s = 0
first_calls = 5
dwell_s = 0
guardrails = ["success"]
"""
SAID = {"reason": "because"}
HORIZON = ("--horizon", "5000", "--reason", "try")


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({"good": "positive", "broken": "no such label"}) as server:
        yield server


@pytest.fixture
def app(upstream: ScriptedUpstream, tmp_path: Path) -> App:
    (tmp_path / "inhouse.toml").write_text(TOML.format(url=upstream.base_url), encoding="utf-8")
    return bootstrap(load_settings(tmp_path, {}))


@pytest.fixture
def server(app: App) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


@pytest.fixture
def http(server: ServerHandle) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def start(http: httpx.Client, candidate: str, **more: Any) -> httpx.Response:
    body = {"task": "sentiment", "candidate": candidate, **SAID, **more}
    return http.post("/v1/rollouts", json=body)


def decided(app: App) -> threading.Event:
    """Set once the controller has decided something."""
    found = threading.Event()

    @event.listens_for(app.database.engine, "before_cursor_execute")
    def look(_c: Any, _u: Any, statement: str, *_: Any) -> None:
        if statement.startswith("INSERT INTO rollout_decision"):
            found.set()

    return found


def test_a_broken_candidate_is_rolled_back_by_itself(
    app: App, server: ServerHandle, http: httpx.Client
) -> None:
    begun = start(http, "local/broken")
    assert begun.status_code == 201, begun.text
    assert (begun.json()["state"], begun.json()["weight_bp"]) == ("ramping", 5000)
    ended = decided(app)
    with Client(server.url) as client:
        for number in range(2000):
            client.run("sentiment", f"text {number}")
            if ended.is_set():
                break
    assert ended.wait(30)
    path = f"/v1/rollouts/{begun.json()['id']}"
    found = http.get(path).json()
    while found["state"] == "ramping":
        found = http.get(path).json()
    assert found["state"] == "rolled_back", found
    assert [one["kind"] for one in found["decisions"]] == ["start", "roll_back"]
    assert found["decisions"][1]["actor"] == "rollout"
    assert found["reading"]["harm"] >= 20
    assert http.get("/v1/routes/sentiment").json()["weight_bp"] == 0
    assert http.get("/v1/rollouts", params={"task": "sentiment"}).json()[0]["id"] == found["id"]


def test_people_steer_over_http_and_by_command(app: App, http: httpx.Client) -> None:
    begun = start(http, "local/broken").json()
    path = f"/v1/rollouts/{begun['id']}"
    assert start(http, "local/broken").json()["code"] == "rollout-running"
    judged = {"judge": "gone/judge", "audit": 0.5}
    refused = start(http, "local/other", replace=True, plan=judged).json()
    assert refused["detail"] == "gone/judge names no declared upstream"
    assert http.post(f"{path}/resume", json=SAID).json()["code"] == "rollout-state"
    assert http.post(f"{path}/pause", json=SAID).json()["state"] == "paused"
    assert http.post(f"{path}/pause", json={}).status_code == 422
    assert http.post(f"{path}/resume", json=SAID).json()["state"] == "ramping"
    second = start(http, "local/other", replace=True).json()
    assert http.get(path).json()["superseded_by"] == "local/other"

    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli, ["--dir", str(app.settings.folder), "rollout", *words])
        assert done.exit_code == code, done.output + str(done.exception)
        return json.loads(done.stdout) if "--json" in words else done.stdout

    assert run("pause", "sentiment", "--reason", "wait", "--json")["state"] == "paused"
    assert "paused" in run("status")
    for words in ("Evidence of harm ", "Outcomes of the candidate at this step: ", "met      Time"):
        assert words in run("status"), "the words of the page"
    [told] = run("status", "sentiment", "--json")
    asked = http.get(f"/v1/rollouts/{told['id']}").json()
    assert [one["name"] for one in told["checks"]] == [one["name"] for one in asked["checks"]]
    assert told.keys() == asked.keys()
    assert "pause by" in run("status", "sentiment")
    assert run("resume", "sentiment", "--json")["weight_bp"] == 5000
    assert run("rollback", "sentiment", "--reason", "no", "--json")["state"] == "rolled_back"
    assert run("rollback", "sentiment", code=1) is not None
    told = run("history", "sentiment")
    assert [told.count(word) for word in ("start ", "pause ", "roll_back")] == [2, 2, 1]
    assert [one["id"] for one in run("history", "sentiment", "--json")] == [
        second["id"],
        begun["id"],
    ]
    again = run("start", "sentiment", "--to", "local/broken", "--json")
    assert again["decisions"][0]["weight_bp"] == 5000
    assert http.get("/v1/rollouts/01a1fc81-377b-7e39-ae5c-ea490c74ea49").status_code == 404


@pytest.mark.parametrize(
    "arguments",
    [
        ("routes", "set", "sentiment", "--to", "locl/tpyo", "--weight", "100"),
        ("routes", "pin", "sentiment", "--to", "embedded/tpyo"),
        ("rollout", "start", "sentiment", "--to", "locl/tpyo"),
        (*("experiment", "start", "sentiment", "--a", "local/good", "--b", "locl/tpyo"), *HORIZON),
    ],
)
def test_commands_send_nothing_to_what_is_not_there(app: App, arguments: tuple[str, ...]) -> None:
    folder = str(app.settings.folder)
    refused = CliRunner().invoke(cli, ["--dir", folder, *arguments]).exception
    assert isinstance(refused, Invalid)
    assert (refused.code, refused.exit_code) == ("reference", 2)
    with app.database.read() as unit:
        assert routes.current(unit, "sentiment") is None
