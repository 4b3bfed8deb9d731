"""Figures, readiness, drift and the report: over HTTP, on the page, and by command."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
from typer.testing import CliRunner

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli import context
from inhouse.cli.main import app as cli
from inhouse.client.drift import DriftLook
from inhouse.client.figures import TaskFigures
from inhouse.client.independence import IndependenceDocument
from inhouse.client.readiness import Readiness
from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.settings import ServerSettings, Settings, TaskSettings, UpstreamSettings

CALLS = 420


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> App:
    upstream = UpstreamSettings.model_validate(
        {"base_url": "http://127.0.0.1:9/v1", "prices": {"large": {"input_per_million": 2.0}}}
    )
    settings = Settings(
        server=ServerSettings(workers=0),
        upstreams={"local": upstream},
        tasks={"mood": TaskSettings(builtin="sentiment", kind="choice", chain=("local/large",))},
        folder=tmp_path_factory.mktemp("project"),
    )
    wired = bootstrap(settings)
    revision, now = wired.catalog.get("mood").revision, wired.clock.now()
    labels = ["positive"] * 300 + ["negative"] * (CALLS - 300)
    with wired.database.write() as unit:
        insert(
            unit,
            [
                InteractionRecord(
                    id=new_id(),
                    created_at=now - timedelta(seconds=CALLS - number),
                    status="answered",
                    input=f"text {number}",
                    output={"label": label},
                    latency_ms=10.0,
                    task="mood",
                    task_revision=revision,
                    reference="local/large",
                    hosting="local",
                    arm="incumbent",
                    cost=0.001,
                )
                for number, label in enumerate(labels)
            ],
        )
    return wired


COMMANDS = {
    "stats": ("task", "stats"),
    "stats json": ("task", "stats", "mood", "--window", "24h", "--json"),
    "readiness": ("task", "readiness", "mood"),
    "readiness json": ("task", "readiness", "mood", "--json"),
    "not looked": ("drift", "list"),
    "check": ("drift", "check", "--json"),
    "looks": ("drift", "list", "mood"),
    "independence": ("independence", "--json"),
    "html": ("independence", "report"),
    "md": ("independence", "report", "--format", "md"),
    "json": ("independence", "report", "--format", "json", "--days", "2"),
}


@pytest.fixture(scope="module")
def said(app: App, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What commands say on the project, and the report they write. They come before the server,
    whose log would go to their output."""
    folder = tmp_path_factory.mktemp("commands")
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        _open(app, patched)
        found = {name: _run(*arguments) for name, arguments in COMMANDS.items()}
    return {**found, "file": (folder / "independence.html").read_text(encoding="utf-8")}


@pytest.fixture(scope="module")
def server(app: App, said: dict[str, str]) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


def _open(app: App, patched: pytest.MonkeyPatch) -> None:
    def folder(_: Path) -> None:
        made = context.Context(Path())
        made.__dict__["app"] = app
        patched.setattr(context, "_context", made)

    patched.setattr("inhouse.cli.main.set_folder", folder)


def _get(server: ServerHandle, path: str) -> tuple[str, Any]:
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return answer.read().decode(), answer.headers


def _post(server: ServerHandle, path: str, value: Any) -> Any:
    asked = urllib.request.Request(
        server.url + path,
        data=json.dumps(value).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 202
        return json.loads(answer.read())


def _run(*arguments: str) -> str:
    result = CliRunner().invoke(cli, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.stdout


def test_figures_and_readiness_everywhere(server: ServerHandle, said: dict[str, str]) -> None:
    found = TaskFigures.model_validate_json(_get(server, "/v1/tasks/mood/figures?window=24h")[0])
    [model] = found.models
    assert (model.reference, model.traffic.calls, model.share) == ("local/large", CALLS, 1.0)
    assert model.success is not None
    assert TaskFigures.model_validate_json(said["stats json"]).models == found.models
    assert "local/large" in said["stats"]
    ready = Readiness.model_validate_json(_get(server, "/v1/tasks/mood/readiness")[0])
    assert (ready.state, ready.reference) == ("not yet", None)
    by_command = Readiness.model_validate_json(said["readiness json"])
    assert [line.name for line in by_command.lines] == [line.name for line in ready.lines]
    assert "next: " in said["readiness"]
    page, _ = _get(server, "/tasks/mood")
    assert "Models of this task" in page
    assert "Can an own model take over?" in page


def test_windows_and_tasks_that_there_are_not(server: ServerHandle) -> None:
    for path, status in (
        ("/v1/tasks/mood/figures?window=1y", 422),
        ("/v1/tasks/none/figures", 404),
        ("/v1/tasks/none/readiness", 404),
        ("/v1/independence/report?format=pdf", 422),
    ):
        with pytest.raises(HTTPError) as refused:
            _get(server, path)
        assert refused.value.code == status, path


def test_commands_refuse_what_there_is_not(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    _open(app, monkeypatch)
    for code, arguments in (
        ("window", ["task", "stats", "--window", "1y"]),
        ("format", ["independence", "report", "--format", "x"]),
    ):
        refused = CliRunner().invoke(cli, arguments).exception
        assert isinstance(refused, Invalid)
        assert refused.code == code


def test_drift_is_looked_for_and_listed(
    app: App, server: ServerHandle, said: dict[str, str]
) -> None:
    assert "no look is kept" in said["not looked"]
    told = json.loads(said["check"])
    assert told["skipped"] == {}
    [look] = [DriftLook.model_validate(one) for one in told["looks"]]
    assert look.drifted
    assert look.reasons[-1].startswith("outputs: labels: ")
    [listed] = json.loads(_get(server, "/v1/drift?task=mood")[0])
    assert DriftLook.model_validate(listed).id == look.id
    assert "drifted" in said["looks"]
    first = _post(server, "/v1/drift", {"task": "mood"})
    assert (first["name"], first["arguments"]) == ("drift", {"task": "mood"})
    assert _post(server, "/v1/drift", {"task": "mood"})["id"] == first["id"]
    assert "drift" in app.handlers


def test_the_report_in_its_forms(server: ServerHandle, said: dict[str, str]) -> None:
    html, headers = _get(server, "/v1/independence/report")
    assert headers.get_content_type() == "text/html"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert html.startswith("<!doctype html>")
    markdown, headers = _get(server, "/v1/independence/report?format=md")
    assert headers.get_content_type() == "text/markdown"
    assert markdown.startswith("# Independence: 20.0 of 100")
    plain = IndependenceDocument.model_validate_json(
        _get(server, "/v1/independence/report?format=json&days=3")[0]
    )
    assert (plain.report.score, plain.report.days) == (20.0, 3)
    assert json.loads(_get(server, "/v1/overview")[0])["savings"]["saved"] is None
    assert said["html"].startswith("independence.html: ")
    assert said["file"].startswith("<!doctype html>")
    assert said["md"].startswith("# Independence: 20.0 of 100")
    assert IndependenceDocument.model_validate_json(said["json"]).report.days == 2
    assert json.loads(said["independence"])["savings"]["tasks"] == []
