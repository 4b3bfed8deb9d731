"""``inhouse task readiness`` asks the running server for circuits, if there is one."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.cli.main import app as cli
from inhouse.core.errors import BackendError, InhouseError
from inhouse.gateway.keys import Role, create
from inhouse.settings import load_settings
from inhouse.testing.versions import add_version

TOML = """
[server]
port = {port}
workers = 0
[tasks.mood]
builtin = "sentiment"
kind = "choice"
"""


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port that is bound, so that nothing else takes it, and where nobody answers."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.fixture
def project(tmp_path: Path, free_port: int) -> Path:
    (tmp_path / "inhouse.toml").write_text(TOML.format(port=free_port), encoding="utf-8")
    return tmp_path


@pytest.fixture
def app(project: Path) -> App:
    made = bootstrap(load_settings(project))
    with made.database.write() as unit:
        add_version(unit, made.catalog.get("mood"), made.clock.now())
    return made


def said(project: Path, *options: str) -> dict[str, Any]:
    """The line about the circuit."""
    made = CliRunner().invoke(
        cli, ["--dir", str(project), "task", "readiness", "mood", "--json", *options]
    )
    if made.exception is not None:
        raise made.exception
    # The log of the server in this process may come before the document.
    told = json.loads(made.stdout[made.stdout.index("{\n") :])
    return next(line for line in told["lines"] if line["name"] == "circuit")


def test_without_a_server_nobody_knows(app: App, project: Path) -> None:
    line = said(project)
    assert (line["state"], line["words"]) == ("unknown", "no server answers, so nobody knows")
    assert line["next"].startswith("inhouse serve")


def test_a_server_that_was_named_must_answer(app: App, project: Path, free_port: int) -> None:
    with pytest.raises(InhouseError) as refused:
        said(project, "--url", f"http://127.0.0.1:{free_port}")
    assert refused.value.code == "unreachable"


def test_the_running_server_is_asked(app: App, project: Path) -> None:
    with serve_in_thread(app) as server:
        assert said(project, "--url", server.url)["state"] == "ok"
        guard, now = app.breakers.of("mood@1"), app.clock.monotonic()
        for _ in range(app.settings.breaker.failures):
            guard.end(guard.start(now), now, 0.1, BackendError("it fell over", code="down"))
        line = said(project, "--url", server.url)
        assert line["state"] == "not yet"
        assert line["words"] == f"open, {app.settings.breaker.failures} failures in a row"


def test_a_server_that_wants_a_key_is_told_so(app: App, project: Path) -> None:
    with app.database.write() as unit:
        secret = create(unit, "desk", Role.VIEWER, app.clock.now())[1]
    with serve_in_thread(app) as server:
        line = said(project, "--url", server.url)
        assert line["state"] == "unknown"
        assert line["words"].startswith("the running server does not say: ")
        assert line["next"]
        assert said(project, "--url", server.url, "--key", secret)["state"] == "ok"
