"""An experiment through a server: counted and ended by its controller, over HTTP and by command."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.main import app as cli
from inhouse.client.sync import Client
from inhouse.registry import routes
from inhouse.settings import load_settings
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.visitor import Visitor

TOML = """
[upstreams.local]
base_url = "{url}"
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["local/before"]
"""
SAID = {"reason": "because"}
ANSWERS = {"before": "neutral", "good": "positive", "same": "positive", "broken": "no such label"}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    folder = tmp_path_factory.mktemp("project")
    with ScriptedUpstream(ANSWERS) as upstream:
        (folder / "inhouse.toml").write_text(TOML.format(url=upstream.base_url), encoding="utf-8")
        yield bootstrap(load_settings(folder, {}))


@pytest.fixture(scope="module")
def url(app: App) -> Iterator[str]:
    with serve_in_thread(app) as handle:
        yield handle.url


@pytest.fixture(autouse=True)
def _same_arms(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same units meet the same arms in every run."""
    monkeypatch.setattr(routes, "fresh_salt", lambda: "salt")


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=60) as client:
        yield client


def start(http: httpx.Client, b: str, horizon: int, **more: Any) -> httpx.Response:
    body = {"task": "sentiment", "a": "local/good", "b": b, "horizon": horizon, "looks": 2}
    return http.post("/v1/experiments", json={**body, **SAID, **more})


def wait_for(read: Callable[[], Any], is_there: Callable[[Any], bool]) -> Any:
    deadline = time.monotonic() + 30
    found = read()
    while not is_there(found):
        assert time.monotonic() < deadline, found
        found = read()
    return found


def ended(http: httpx.Client, url: str, path: str, most: int) -> Any:
    """Call the task until its experiment has ended, but not more often than ``most``; then traffic
    returns to what answered before."""
    with Client(url) as client:
        for number in range(most):
            client.run("sentiment", "text", unit=f"unit {number}")
            if number % 20 == 0 and http.get(path).json()["state"] != "running":
                break
        found = wait_for(lambda: http.get(path).json(), lambda one: one["state"] != "running")
        wait_for(
            lambda: client.run("sentiment", "who answers now?"),
            lambda one: (one.model_version, one.arm) == ("local/before", "incumbent"),
        )
    return found


def test_an_arm_that_is_far_worse_ends_it_at_once(http: httpx.Client, url: str) -> None:
    begun = start(http, "local/broken", 100_000)
    assert begun.status_code == 201, begun.text
    assert start(http, "local/same", 1000).json()["code"] == "experiment-running"
    path = f"/v1/experiments/{begun.json()['id']}"
    found = ended(http, url, path, 3000)
    assert (found["state"], found["ended_by"], found["taken"]) == ("stopped", "experiment", [])
    assert found["why"].startswith("B (local/broken) is far worse"), found
    assert found["b"]["mean"] == 0.0
    assert found["b"]["harm"] >= 1000
    assert http.get("/v1/experiments", params={"task": "sentiment"}).json()[0] == found


def test_equal_arms_end_at_the_horizon_without_a_winner(http: httpx.Client, url: str) -> None:
    begun = start(http, "local/same", 80).json()
    assert (begun["a"]["reference"], begun["weight_bp"]) == ("local/good", 5000)
    found = ended(http, url, f"/v1/experiments/{begun['id']}", 400)
    assert (found["state"], found["winner"]) == ("concluded", None)
    assert found["outcomes"] >= 80
    assert 1 <= len(found["taken"]) <= 2
    assert "local/before goes on answering" in found["recommendation"]


def test_people_steer_over_http_and_by_command(app: App, http: httpx.Client) -> None:
    def run(*words: str, code: int = 0) -> Any:
        done = CliRunner().invoke(cli, ["--dir", str(app.settings.folder), "experiment", *words])
        assert done.exit_code == code, done.output + str(done.exception)
        return json.loads(done.stdout) if "--json" in words else done.stdout

    asked = ["start", "sentiment", "--a", "local/good", "--b", "local/same", "--reason", "try"]
    begun = run(*asked, "--horizon", "5000", "--weight", "20", "--json")
    assert (begun["state"], begun["looks"], begun["alpha"]) == ("running", 5, 0.05)
    assert "running    success of local/good (80 %)" in run("status")
    run(*asked, "--horizon", "5000", "--metric", "mood", code=1)
    assert run("stop", "sentiment", "--reason", "enough", "--json")["state"] == "stopped"
    run("stop", "sentiment", "--reason", "enough", code=1)
    second = start(http, "local/same", 200, looks=5, metric="error").json()
    path = f"/v1/experiments/{second['id']}"
    assert http.post(f"{path}/stop", json={}).status_code == 422
    assert http.post(f"{path}/stop", json=SAID).json()["why"] == "because"
    assert http.post(f"{path}/stop", json=SAID).json()["code"] == "experiment-state"
    assert start(http, "local/same", 10).json()["code"] == "experiment-plan"
    assert start(http, "local/same", 100, metric="mood").status_code == 422
    assert http.get("/v1/experiments/01a1fc81-377b-7e39-ae5c-ea490c74ea49").status_code == 404
    listed = [one["id"] for one in run("history", "sentiment", "--json")]
    assert listed[:2] == [second["id"], begun["id"]]
    assert "ended by" in run("history", "sentiment", "--limit", "1")
    planned = run("plan", "sentiment", "--effect", "0.03", "--rate", "0.9", "--json")
    assert 3600 < planned["horizon"] < 3700
    assert "--metric METRIC" in run("plan", "sentiment", "--effect", "0.1", "--spread", "0.4")


def test_drawn_calls_are_labelled_over_http_and_by_command(
    app: App, http: httpx.Client, url: str
) -> None:
    audit = "/v1/tasks/sentiment/audit"
    nothing = http.get(audit)
    assert (nothing.status_code, nothing.json()["code"]) == (404, "split-not-found")
    begun = start(http, "local/same", 80, metric="correct", audit=1.0, judge="", days=7).json()
    assert (begun["days"], begun["audit"], begun["judge"]) == (7.0, 1.0, "")
    with Client(url) as client:
        ids = [client.run("sentiment", "text", unit=f"u{n}").interaction_id for n in range(6)]
    drawn = wait_for(lambda: http.get(audit).json(), lambda found: len(found) == len(ids))
    assert {tuple(one) for one in drawn} == {("interaction_id", "input", "output")}
    assert {one["interaction_id"] for one in drawn} == set(ids)
    said = {"interaction_id": ids[0], "correct": True}
    assert http.post(audit, json=said).status_code == 201
    assert http.post(audit, json={**said, "correct": False}).json()["code"] == "audit-labelled"
    words = ["feedback", "audit", "sentiment", "--id", ids[1], "--value", "negative"]
    done = CliRunner().invoke(cli, ["--dir", str(app.settings.folder), *words])
    assert done.exit_code == 0, done.output
    path = f"/v1/experiments/{begun['id']}"
    found = wait_for(lambda: http.get(path).json(), lambda one: one["outcomes"] == 2)
    right = sum(one["outcomes"] * (one["mean"] or 0.0) for one in (found["a"], found["b"]))
    assert right == 1.0
    shown = CliRunner().invoke(cli, ["--dir", str(app.settings.folder), "experiment", "status"])
    assert "ends without a winner on " in shown.stdout
    assert http.post(f"{path}/stop", json=SAID).status_code == 200
    assert start(http, "local/same", 80, audit=0.5).json()["code"] == "experiment-plan"
    assert start(http, "local/same", 80, days=0).status_code == 422
    refused = start(http, "local/same", 80, metric="error", audit=0.5, judge="local/same")
    assert refused.json()["code"] == "audit-judge"
    refused = start(http, "local/same", 80, metric="error", audit=0.5, judge="gone/judge")
    assert refused.json()["detail"] == "gone/judge names no declared upstream"


def test_a_time_limit_ends_it_without_a_winner(app: App, http: httpx.Client, url: str) -> None:
    begun = start(http, "local/same", 5000, days=0.000001)
    assert begun.status_code == 201, begun.text
    found = ended(http, url, f"/v1/experiments/{begun.json()['id']}", 1)
    assert (found["state"], found["winner"], found["ended_by"]) == (
        "inconclusive",
        None,
        "experiment",
    )
    assert "local/before goes on answering" in found["why"]
    command = ["--dir", str(app.settings.folder), "experiment", "start", "sentiment"]
    asked = ["--a", "local/good", "--b", "local/same", "--horizon", "5000", "--reason", "try"]
    done = CliRunner().invoke(cli, [*command, *asked, "--days", "0.000001", "--json"])
    assert done.exit_code == 0, done.output
    path = f"/v1/experiments/{json.loads(done.stdout)['id']}"
    wait_for(lambda: http.get(path).json()["state"], lambda state: state == "inconclusive")


def test_its_page_shows_it_and_stops_it(http: httpx.Client, url: str) -> None:
    begun = start(http, "local/same", 5000).json()
    visitor = Visitor(url)
    path = f"/experiments/{begun['id']}"
    shown = visitor.get(path)
    assert (shown.status, "The first look comes at 2,500 outcomes" in shown.text) == (200, True)
    sent = {"csrf": visitor.token(path)}
    assert visitor.post(f"{path}/stop", sent).status == 422
    assert visitor.post(f"{path}/stop", sent | {"reason": "seen enough"}).status == 303
    assert http.get(f"/v1{path}").json()["why"] == "seen enough"
    assert "seen enough" in visitor.get(path).text
    assert begun["id"] in visitor.get("/experiments?task=sentiment").text
    assert visitor.get("/experiments/nothing").status == 404
