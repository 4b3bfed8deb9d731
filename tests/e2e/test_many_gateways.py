"""Several gateway processes on one PostgreSQL: what one is told, the others follow."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from typer.testing import CliRunner

from inhouse.cli.context import set_folder
from inhouse.cli.keys import app as keys_cli
from inhouse.cli.routes import app as routes_cli
from inhouse.core.clock import SystemClock
from inhouse.db.unit import Database
from inhouse.gateway.keys import Role, create
from inhouse.migrations.upgrade import upgrade
from inhouse.testing.upstream_behaviours import answer
from inhouse.testing.upstream_exchange import Behaviour
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import stream

pytestmark = pytest.mark.postgres

PATIENCE_S: Final = 30.0
RUN: Final = "/v1/tasks/mood/run"
HELLO: Final = [{"role": "user", "content": "Hello"}]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def model(self) -> str:
        return self.headers.get("x-inhouse-model-version", "")


@dataclass
class Gateway:
    """A process of ``inhouse serve``."""

    process: subprocess.Popen[str]
    url: str
    key: str | None = None

    def ask(self, path: str, body: Any = None, key: str | None = None) -> Answer:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        headers = {"content-type": "application/json"}
        if (key or self.key) is not None:
            headers["authorization"] = f"Bearer {key or self.key}"
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        caller = http.client.HTTPConnection(parts.hostname, parts.port, timeout=PATIENCE_S)
        with closing(caller):
            caller.request(method, path, data, headers)
            response = caller.getresponse()
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, response.read())

    def run(self, key: str | None = None) -> Answer:
        return self.ask(RUN, {"input": "Profits doubled."}, key)

    def stop(self) -> int:
        """Ask it to leave, and wait for that; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


class World:
    """A database, a project folder over it, an upstream, and gateways."""

    def __init__(self, folder: Path, url: str, upstream: ScriptedUpstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self.database = Database(url)
        (folder / "inhouse.toml").write_text(
            f'[server]\nworkers = 0\n[database]\nurl = "{url}"\n'
            f'[upstreams.up]\nbase_url = "{upstream.base_url}"\n'
            '[tasks.mood]\nbuiltin = "sentiment"\nkind = "choice"\nchain = ["up/old"]\n'
        )

    def start(self, count: int, key: str | None = None) -> list[Gateway]:
        """So many gateways, started at the same time."""
        command = [sys.executable, "-m", "inhouse.cli.main", "--dir", str(self.folder), "serve"]
        started = [
            subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
            for _ in range(count)
        ]
        return [Gateway(process, _url(process), key) for process in started]

    def make_key(self, name: str, role: Role = Role.APPLICATION) -> str:
        with self.database.write() as unit:
            return create(unit, name, role, SystemClock().now())[1]

    def recorded(self) -> Counter[str]:
        """How often each interaction is there: once."""
        with self.database.read() as unit:
            return Counter(row.id for row in unit.execute(text("SELECT id FROM interaction")))


def _url(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    assert line.startswith("inhouse http"), line
    return line.split()[1]


@pytest.fixture(scope="module")
def empty(postgres_server: str) -> Iterator[Callable[[], str]]:
    """Makes empty databases; gives their URLs."""
    server, made = make_url(postgres_server), []
    admin = create_engine(server, isolation_level="AUTOCOMMIT")

    def make() -> str:
        made.append(f"g{uuid.uuid4().hex}")
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {made[-1]}"))
        return server.set(database=made[-1]).render_as_string(False)

    yield make
    with admin.connect() as connection:
        for name in made:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


@pytest.fixture(scope="module")
def world(empty: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    script: dict[str, Behaviour | str] = {"old": "positive", "new": "negative"}
    with ScriptedUpstream(script) as upstream:
        made = World(tmp_path_factory.mktemp("gateways"), empty(), upstream)
        upgrade(made.database)
        yield made
        made.database.close()


@pytest.fixture(scope="module")
def pair(world: World) -> Iterator[list[Gateway]]:
    """Two gateways that an administrator may ask."""
    made = world.start(2, world.make_key("admin", Role.ADMIN))
    yield made
    assert [gateway.stop() for gateway in made] == [0, 0]


def follows(seen: Callable[[], bool]) -> None:
    """It is seen before long; how soon is what a benchmark tells."""
    deadline = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < deadline, f"not followed after {PATIENCE_S:g} s"
        time.sleep(0.005)


def command(world: World, cli: Any, *arguments: str) -> Any:
    set_folder(world.folder)
    done = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


STARTERS: Final = """
import os, sys
from inhouse.db.unit import Database
from inhouse.migrations.upgrade import upgrade

begin, begun = os.pipe()
children = []
for _ in range(6):
    children.append(os.fork())
    if not children[-1]:
        os.close(begun)
        os.read(begin, 1)
        upgrade(Database(sys.argv[1]))
        os._exit(0)
os.close(begun)
sys.exit(sum(bool(os.waitpid(child, 0)[1]) for child in children))
"""


def test_gateways_may_meet_an_empty_database_at_once(empty: Callable[[], str]) -> None:
    command = [sys.executable, "-c", STARTERS, empty()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stderr


def test_a_new_revision_is_followed_by_the_other(world: World, pair: list[Gateway]) -> None:
    one, other = pair
    for round_ in range(3):
        why = {"reason": f"round {round_}"}
        moved = one.ask("/v1/routes/mood", {"candidate": "up/new", "weight": 100, **why})
        assert (moved.status, one.run().model) == (200, "up/new"), "itself at once"
        follows(lambda: other.run().model == "up/new")
        assert other.ask("/v1/routes/mood/rollback", why).status == 200
        assert other.run().model == "up/old"
        follows(lambda: one.run().model == "up/old")


def test_the_command_line_moves_both(world: World, pair: list[Gateway]) -> None:
    command(world, routes_cli, "set", "mood", "--to", "up/new", "--weight", "100")
    follows(lambda: {one.run().model for one in pair} == {"up/new"})
    command(world, routes_cli, "rollback", "mood")
    follows(lambda: {one.run().model for one in pair} == {"up/old"})


def test_keys_are_followed(world: World, pair: list[Gateway]) -> None:
    made = command(world, keys_cli, "create", "--name", "desk")
    follows(lambda: [one.run(made["key"]).status for one in pair] == [200, 200])
    command(world, keys_cli, "revoke", made["id"])
    follows(lambda: [one.run(made["key"]).status for one in pair] == [401, 401])


def test_a_day_budget_is_one_for_both(world: World, pair: list[Gateway]) -> None:
    limit = ("--requests-per-day", "40")
    made = command(world, keys_cli, "create", "--name", "shop", *limit)
    _agree(pair, made["id"], 0)
    answered = 0
    for share in (15, 10):
        for gateway in pair:
            answered += [gateway.run(made["key"]).status for _ in range(share)].count(200)
            _agree(pair, made["id"], answered)
    assert answered == 40
    refused = [one.run(made["key"]) for one in pair]
    assert [one.json["code"] for one in refused] == ["budget-requests"] * 2


def _used(gateways: list[Gateway], key_id: str) -> list[int]:
    """How much of the key's one limit is used up, as each of them says."""
    lines = [line for one in gateways for line in one.ask("/v1/limits").json]
    return [line["used"] for line in lines if line["id"] == key_id]


def _agree(gateways: list[Gateway], key_id: str, used: int) -> None:
    """Wait until each of them says that so much is used up."""
    deadline = time.monotonic() + PATIENCE_S
    while (said := _used(gateways, key_id)) != [used] * len(gateways):
        assert time.monotonic() < deadline, f"they say {said}, not {used}"
        time.sleep(0.005)


def test_both_record_into_one_table(world: World, pair: list[Gateway]) -> None:
    with ThreadPoolExecutor(16) as pool:
        calls = [pool.submit(pair[number % 2].run) for number in range(200)]
        answers = [call.result() for call in calls]
    assert {one.status for one in answers} == {200}
    ids = [one.headers["x-inhouse-interaction-id"] for one in answers]
    deadline = time.monotonic() + PATIENCE_S
    while not set(ids) <= set(kept := world.recorded()):
        assert time.monotonic() < deadline, "some are never recorded"
    assert {kept[one] for one in ids} == {1}


def test_sigterm_drains(world: World, pair: list[Gateway]) -> None:
    """Calls under way on a process that is told to leave are answered, whole or streamed, while the
    other one goes on; then it ends with 0, and everything is recorded."""
    (leaving,) = world.start(1, pair[0].key)
    world.upstream.script = {
        "old": answer("positive", delay_s=0.5),
        "long": stream(["All ", "is ", "well."] * 5, pause_s=0.05),
    }
    chat = {"model": "up/long", "messages": HELLO, "stream": True}
    asked = world.upstream.hits["old"] + world.upstream.hits["long"]
    with ThreadPoolExecutor(12) as pool:
        calls = [pool.submit(leaving.run) for _ in range(8)]
        calls += [pool.submit(leaving.ask, "/v1/chat/completions", chat) for _ in range(4)]
        world.upstream.wait_until(
            lambda: world.upstream.hits["old"] + world.upstream.hits["long"] == asked + 12
        )
        assert leaving.stop() == 0
        answers = [call.result() for call in calls]
    assert {one.status for one in answers} == {200}
    assert all(one.body.endswith(b"data: [DONE]\n\n") for one in answers[8:])
    ids = {one.headers["x-inhouse-interaction-id"] for one in answers}
    assert ids <= set(world.recorded())
    assert pair[0].run().status == 200
    with pytest.raises(ConnectionError):
        Gateway(leaving.process, leaving.url).run()
