"""``inhouse doctor`` on projects that work, and on some that cannot."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from sqlalchemy import func, select
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.cli import doctor as doctor_module
from inhouse.cli.context import open_context, set_folder
from inhouse.cli.doctor import doctor
from inhouse.db.dialects import table_of
from inhouse.interactions.tables import Interaction
from inhouse.registry import routes
from inhouse.settings import load_settings
from inhouse.testing.upstream_behaviours import answer, hang, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange
from inhouse.testing.upstream_server import ScriptedUpstream

cli = typer.Typer()
cli.command()(doctor)

TASKS = """
[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = {chain}
timeout_s = {timeout_s}
"""


@pytest.fixture
def script() -> dict[str, Behaviour | str]:
    return {"good": "neutral", "chatty": answer("OK.\nAnd\tmore " + "x" * 100)}


@pytest.fixture
def upstream(script: dict[str, Behaviour | str]) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(script) as server:
        yield server


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


Project = Callable[..., Path]


@pytest.fixture
def project(upstream: ScriptedUpstream, port: int, tmp_path: Path) -> Project:
    def write(*chain: str, timeout_s: float = 20.0, more: str = "") -> Path:
        folder = tmp_path / "project"
        folder.mkdir(exist_ok=True)
        (folder / "inhouse.toml").write_text(
            f"[server]\nport = {port}\n[upstreams.up]\nbase_url = '{upstream.base_url}'\n"
            "[upstreams.up.prices.good]\ninput_per_million = 1e6\noutput_per_million = 2e6\n"
            + TASKS.format(chain=list(chain or ["up/good"]), timeout_s=timeout_s)
            + more
        )
        set_folder(folder)
        return folder

    return write


def run(*arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    return done.exit_code, done.stdout


def examine() -> tuple[int, dict[str, Any], list[dict[str, Any]]]:
    """Exit code, checks by name, backends."""
    code, said = run("--json")
    told = json.loads(said)
    assert told["ok"] == (code == 0)
    return code, {one["name"]: one for one in told["checks"]}, told["backends"]


def test_a_project_that_works(project: Project, upstream: ScriptedUpstream) -> None:
    text = '[tasks.talk]\nkind = "text"\nchain = ["up/chatty"]\n'
    project(more=text)
    code, checks, backends = examine()
    assert code == 0
    assert set(checks) == {"settings", "disk", "port", "database", "store"}
    assert {one["state"] for one in checks.values()} == {"ok"}
    first, second = backends
    assert (first["task"], first["reference"], first["answer"]) == (
        "sentiment",
        "up/good",
        "neutral",
    )
    assert (first["input_tokens"], first["output_tokens"], first["cost"]) == (7, 3, 13.0)
    assert first["latency_ms"] > 0
    assert (second["task"], second["ok"]) == ("talk", True)
    assert upstream.hits == {"good": 1, "chatty": 1}
    (asked,) = [one for one in upstream.requests if one.model == "chatty"]
    assert asked.messages == [{"role": "user", "content": "Say OK."}]


def test_the_table_says_the_same(project: Project) -> None:
    project(more='[tasks.talk]\nkind = "text"\nchain = ["up/chatty", "up/gone"]\n')
    code, said = run()
    assert code == 1
    for part in (
        "settings ",
        "sentiment",
        "neutral",
        "OK. And",
        "xxx...",
        "7+3",
        "base_url",
        "2 tasks, 1 upstream",
    ):
        assert part in said, said
    assert "talk up/gone upstream-status: up/gone answered 404" in said


def test_it_is_no_traffic(project: Project) -> None:
    project()
    assert examine()[0] == 0
    app = open_context().app
    app.recorder.start()
    app.recorder.stop()
    with app.database.read() as unit:
        rows = unit.execute(select(func.count()).select_from(table_of(Interaction))).scalar_one()
    assert rows == 0
    assert app.breakers.states() == []


def test_every_backend_on_the_way_is_asked_once(
    project: Project, script: dict[str, Behaviour | str]
) -> None:
    script.update({name: "neutral" for name in ("second", "incumbent", "candidate", "forced")})
    folder = project("up/good", "up/second", more='[force]\nsentiment = "up/forced"\n')
    app = open_context().app
    with app.database.write() as unit:
        spec = app.catalog.get("sentiment")
        seen = routes.implicit("sentiment", spec.chain)
        fields = {"incumbent": "up/incumbent", "candidate": "up/candidate", "weight_bp": 100}
        moved = routes.Route(
            **{name: getattr(seen, name) for name in seen.__slots__ if name not in fields},
            **fields,
        )
        routes.append(unit, moved, expect=0, at=app.clock.now())
    set_folder(folder)
    _, _, backends = examine()
    asked = [one["reference"] for one in backends]
    assert asked == ["up/forced", "up/incumbent", "up/candidate", "up/good", "up/second"]


@pytest.mark.parametrize(
    ("behaviour", "code", "hint"),
    [
        (status(401), "upstream-status", "api_key"),
        (status(404), "upstream-status", "base_url"),
        (hang(), "timeout", "timeout_s"),
        ("no idea", "unparsable", "instructions"),
    ],
)
def test_a_backend_that_fails_is_named_with_what_to_do(
    project: Project,
    script: dict[str, Behaviour | str],
    behaviour: Behaviour | str,
    code: str,
    hint: str,
) -> None:
    script["bad"] = behaviour
    bad_s = 0.5 if code == "timeout" else 20.0
    more = TASKS.replace("[tasks.sentiment]", "[tasks.tone]").format(
        chain=["up/bad"], timeout_s=bad_s
    )
    project("up/good", more=more)
    exit_code, _, (good, bad) = examine()
    assert exit_code == 1
    assert (good["ok"], bad["ok"], bad["code"]) == (True, False, code)
    assert hint in bad["hint"]
    assert bad["message"]


def test_a_base_that_is_not_there(project: Project) -> None:
    project("embedded/none-such")
    code, _, (only,) = examine()
    assert (code, only["code"], only["cost"]) == (1, "base-missing", 0.0)
    assert "store publish" in only["hint"]


def test_no_more_than_four_are_asked_at_once(
    project: Project, script: dict[str, Behaviour | str]
) -> None:
    names = [f"slow{number}" for number in range(12)]
    full = asyncio.Event()
    running: list[str] = []
    most: list[int] = []

    async def behave(exchange: Exchange) -> None:
        running.append(exchange.request.model)
        most.append(len(running))
        if len(running) == 4:
            full.set()
        await full.wait()
        await asyncio.sleep(0.02)
        running.remove(exchange.request.model)
        await answer("neutral")(exchange)

    script.update(dict.fromkeys(names, behave))
    project(*(f"up/{name}" for name in names))
    code, _, backends = examine()
    assert (code, len(backends), max(most)) == (0, 12, 4)


def test_settings_that_do_not_fit(project: Project) -> None:
    project(more="colour = 'red'\n")
    code, checks, backends = examine()
    assert (code, backends) == (1, [])
    assert checks["settings"]["state"] == "failed"
    assert "colour" in checks["settings"]["message"]


def test_an_external_upstream_without_a_key_is_a_warning(project: Project) -> None:
    project(more='[upstreams.far]\nbase_url = "https://api.example.com/v1"\n')
    code, checks, _ = examine()
    assert (code, checks["keys"]["state"]) == (0, "warning")
    assert checks["keys"]["message"] == "no api_key for the external upstream far"


def test_a_project_without_tasks_is_told_how_to_begin(tmp_path: Path, port: int) -> None:
    (tmp_path / "inhouse.toml").write_text(f"[server]\nport = {port}\n")
    set_folder(tmp_path)
    code, checks, _ = examine()
    assert code == 0
    assert (checks["settings"]["state"], checks["port"]["state"]) == ("warning", "ok")
    assert "inhouse init" in checks["settings"]["hint"]


def test_a_database_that_does_not_answer(project: Project, port: int) -> None:
    address = f"postgresql://nobody@127.0.0.1:{port}/none"
    project(more=f"[database]\nurl = '{address}'\n")
    code, checks, backends = examine()
    assert (code, backends) == (1, [])
    assert checks["database"]["state"] == "failed"
    assert "does not answer" in checks["database"]["message"]
    assert "\n" not in checks["database"]["message"]


def test_a_database_that_is_none(project: Project) -> None:
    folder = project()
    (folder / ".inhouse").mkdir()
    (folder / ".inhouse" / "inhouse.db").write_bytes(b"not a database at all" * 100)
    code, checks, _ = examine()
    assert (code, checks["database"]["state"]) == (1, "failed")
    assert "not a database" in checks["database"]["message"]


def test_a_database_that_may_only_be_read(project: Project) -> None:
    folder = project()
    path = folder / ".inhouse" / "inhouse.db"
    bootstrap(load_settings(folder, {})).database.close()
    project(more=f"[database]\nurl = 'sqlite:///file:{path}?mode=ro&uri=true'\n")
    code, checks, _ = examine()
    assert (code, checks["database"]["state"]) == (1, "failed")
    assert "attempt to write a readonly database" in checks["database"]["message"]


def test_a_store_that_is_something_else(project: Project) -> None:
    folder = project()
    (folder / ".inhouse" / "store").mkdir(parents=True)
    (folder / ".inhouse" / "store" / "holiday.jpg").write_bytes(b"x")
    code, checks, _ = examine()
    assert code == 1
    assert checks["project"]["state"] == "failed"


def test_a_port_that_we_serve_already_is_fine(project: Project) -> None:
    folder = project()
    app = bootstrap(load_settings(folder))
    with serve_in_thread(app, port=app.settings.server.port):
        code, checks, _ = examine()
    assert code == 0
    assert "served by Inhouse already" in checks["port"]["message"]


def test_a_port_that_another_program_has(project: Project, port: int) -> None:
    project()
    with ScriptedUpstream({}) as other:
        settings = (open_context().folder / "inhouse.toml").read_text()
        moved = settings.replace(f"port = {port}", f"port = {other.port}", 1)
        (open_context().folder / "inhouse.toml").write_text(moved)
        code, checks, _ = examine()
    assert code == 1
    assert "another program" in checks["port"]["message"]
    assert "server.port" in checks["port"]["hint"]


def test_little_room_is_a_warning(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = project()
    free = shutil.disk_usage(folder).free
    monkeypatch.setattr(doctor_module, "_LEAST_FREE", free * 10)
    code, checks, _ = examine()
    assert (code, checks["disk"]["state"]) == (0, "warning")
