"""Automation through a server: proposals over HTTP and by command, and the pause that all see."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.automation import records
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.main import app as cli
from inhouse.datasets.ingest import import_file
from inhouse.gateway import keys
from inhouse.gateway.keys import Role
from inhouse.settings import load_settings

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "let-it-run.md"
TOML = """
[server]
workers = 0
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = ["embedded/general"]
[tasks.sentiment.training]
retrain_after = 10
[tasks.other]
builtin = "sentiment"
kind = "choice"
chain = ["embedded/general"]
[tasks.other.rollout]
automation = "off"
"""


@pytest.fixture
def app(tmp_path: Path) -> App:
    (tmp_path / "inhouse.toml").write_text(TOML, encoding="utf-8")
    made = bootstrap(load_settings(tmp_path, {}))
    rows = "".join(f"text {n},{('negative', 'positive')[n % 2]}\n" for n in range(12))
    (tmp_path / "rows.csv").write_text("text,label\n" + rows, encoding="utf-8")
    spec = made.catalog.get("sentiment")
    assert import_file(made.database, spec, tmp_path / "rows.csv", clock=made.clock).added == 12
    return made


@pytest.fixture
def server(app: App) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


@pytest.fixture
def http(app: App, server: ServerHandle) -> Iterator[httpx.Client]:
    app.conductor.stop()  # the test says when to look
    with httpx.Client(base_url=server.url, timeout=60) as client:
        yield client


def test_proposals_over_http_and_by_command(app: App, http: httpx.Client) -> None:
    def run(*words: str, code: int = 0) -> str:
        done = CliRunner().invoke(cli, ["--dir", str(app.settings.folder), *words])
        assert done.exit_code == code, (words, done.output, done.exception)
        return done.stdout

    app.conductor.tick()
    other, task = http.get("/v1/automation").json()["tasks"]
    assert (other["mode"], other["training"]) == ("off", "off")
    assert (task["mode"], task["rollout"]) == ("ask", "waits: no candidate")
    [proposal] = task["proposals"]
    assert (proposal["what"], proposal["state"]) == ("train", "open")
    assert proposal["why"] == "at least 10 examples and no own model yet (retrain_after 10)"
    path = f"/v1/automation/proposals/{proposal['id']}"
    assert http.get(path).json() == proposal
    assert proposal["id"] in run("automation", "status")
    [concern] = http.get("/v1/overview").json()["attention"]
    assert (concern["code"], concern["about"]) == ("proposal-open", proposal["id"])
    assert 'proposals_open{what="train"} 1.0' in http.get("/metrics").text

    paused = http.post("/v1/jobs/pause", json={"reason": "maintenance"}).json()["paused"]
    assert paused["reason"] == "maintenance"
    assert "paused by" in run("jobs", "list")
    assert "maintenance" in run("automation", "status", "sentiment")
    assert http.get("/v1/automation").json()["paused"] == paused
    assert "jobs_paused 1.0" in http.get("/metrics").text
    codes = [one["code"] for one in http.get("/v1/overview").json()["attention"]]
    assert codes == ["jobs-paused", "proposal-open"]
    refused = http.post(f"{path}/accept", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "jobs-paused")
    assert "goes on" in run("jobs", "resume")
    assert "nothing was paused" in run("jobs", "resume")
    assert json.loads(run("jobs", "pause", "--reason", "again", "--json"))["paused"]
    assert http.post("/v1/jobs/resume").json() == {"paused": None}

    assert http.post(f"{path}/decline", json={}).status_code == 422
    accepted: dict[str, Any] = http.post(f"{path}/accept", json={"reason": "go"}).json()
    assert (accepted["state"], accepted["reason"]) == ("accepted", "go")
    again = http.post(f"{path}/accept", json={})
    assert (again.status_code, again.json()["code"]) == (409, "proposal-state")
    run("automation", "decline", proposal["id"], "--reason", "no", code=1)
    [told] = json.loads(run("automation", "history", "--json"))
    assert (told["state"], told["result"]) == ("accepted", accepted["result"])
    found = http.get("/v1/automation/proposals", params={"state": "accepted"}).json()
    assert [one["id"] for one in found] == [proposal["id"]]
    assert "accepted" in run("automation", "history", "sentiment")
    run("automation", "history", "no-task", code=1)
    worked = app.make_worker(1).run_next()
    assert worked is not None
    assert worked.error is None
    assert http.get(path).json()["result"]["run_id"] == worked.result["run_id"]  # type: ignore[index]
    assert http.get(f"/v1/automation/proposals/{accepted['result']['job_id']}").status_code == 404


def test_the_commands_of_the_page(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of the how-to, in its order: the accepted proposal cannot be declined then."""
    app.conductor.tick()
    with app.database.read() as unit:
        [proposal] = records.list_proposals(unit)
    monkeypatch.chdir(app.settings.folder)
    blocks = re.findall(r"```console\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    commands = [shlex.split(line)[2:] for line in "".join(blocks).splitlines()]
    assert len(commands) >= 8
    for command in commands:
        words = [proposal.id if word == "ID" else word for word in command]
        done = CliRunner().invoke(cli, ["--dir", ".", *words])
        is_late = words[:2] == ["automation", "decline"]
        assert bool(done.exit_code) is is_late, (words, done.output, done.exception)


def test_who_may_read_and_who_may_decide(app: App, http: httpx.Client) -> None:
    app.conductor.tick()
    [proposal] = http.get("/v1/automation/proposals").json()
    paths = (
        f"/v1/automation/proposals/{proposal['id']}/decline",
        "/v1/jobs/pause",
    )
    secrets = {}
    with app.database.write() as unit:
        for role in (Role.VIEWER, Role.OPERATOR):
            _, secrets[role] = keys.create(unit, role.value, role, app.clock.now())
    app.keys.refresh()
    for role, secret in secrets.items():
        headers = {"authorization": f"Bearer {secret}"}
        assert http.get("/v1/automation", headers=headers).status_code == 200
        expected = 403 if role is Role.VIEWER else 200
        for path in paths:
            said = http.post(path, json={"reason": "no"}, headers=headers)
            assert said.status_code == expected, said.text
    assert http.get("/v1/automation").status_code == 401
