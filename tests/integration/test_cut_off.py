"""A server that is cut off from its database serves its last revision, and says so everywhere."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, make_url

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.client.sync import Client
from inhouse.monitoring import alerts
from inhouse.settings import load_settings
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.webhook_server import WebhookServer

PATIENCE_S = 30.0
TOML = """
[server]
workers = 0
[database]
url = "{database}"
[recording]
on_record_failure = "{policy}"
[upstreams.up]
base_url = "{upstream}"
[tasks.mood]
builtin = "sentiment"
kind = "choice"
chain = ["up/first"]
[notify.channels.desk]
kind = "webhook"
url = "{hook}"
"""


class Relay:
    """A TCP port in front of a PostgreSQL server's socket; it can be cut, and mended."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self.port = 0
        self.mend()

    def mend(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", self.port))
        self.port = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listening,), daemon=True).start()

    def cut(self) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            for one in self._open:  # its pump closes it
                with suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            with self._lock:
                self._open |= {near, far}
            for pair in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=pair, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        for one in (source, sink):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        source.close()


@pytest.fixture
def relay(postgres_server: str) -> Iterator[tuple[Relay, str]]:
    """A relay, and the address of a fresh database behind it."""
    server = make_url(postgres_server)
    name = f"cut_{uuid.uuid4().hex}"
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    made = Relay(f"{server.query['host']}/.s.PGSQL.{server.port or 5432}")
    url = URL.create("postgresql", server.username, server.password, "127.0.0.1", made.port, name)
    yield made, url.render_as_string(hide_password=False)
    made.cut()
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


def ask(url: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body).encode()
    request = Request(url, data=data, headers={"content-type": "application/json"})
    try:
        with urlopen(request, timeout=PATIENCE_S) as response:
            content = response.read()
            return response.status, content if url.endswith("metrics") else json.loads(content)
    except HTTPError as error:
        with error:
            return error.code, json.load(error)


def until(look: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := look()):
        assert time.monotonic() < deadline, "it never comes to that"
        time.sleep(0.02)
    return found


def series(url: str, name: str) -> float:
    lines = ask(f"{url}/metrics")[1].decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


@pytest.mark.postgres
@pytest.mark.parametrize("policy", ["answer", "refuse"])
def test_a_server_without_its_database_goes_on_and_says_so(
    relay: tuple[Relay, str],
    tmp_path: Path,
    policy: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "inhouse")
    monkeypatch.setattr(alerts, "EVERY_S", 0.05)
    monkeypatch.setattr(alerts, "AWAY", timedelta(seconds=0.1))
    wire, database = relay
    script = {"first": "neutral", "second": "positive", "third": "negative"}
    with ScriptedUpstream(script) as upstream, WebhookServer() as hook:
        declared = TOML.format(
            database=database, policy=policy, upstream=upstream.base_url, hook=hook.url
        )
        (tmp_path / "inhouse.toml").write_text(declared, encoding="utf-8")
        app = bootstrap(load_settings(tmp_path, {}))
        with serve_in_thread(app) as server, Client(server.url) as client:
            url, move = server.url, f"{server.url}/v1/routes/mood"
            ask(move, {"candidate": "up/second", "weight": 100, "reason": "a revision"})
            answers = [client.run("mood", "x")]
            app.recorder.flush(PATIENCE_S)
            assert ask(f"{url}/readyz") == (200, {"status": "ok"})
            wire.cut()
            until(lambda: series(url, 'inhouse_mirror_stale{table="routes"}') == 1)
            status, said = ask(f"{url}/readyz")
            if policy == "answer":
                assert (status, said["status"]) == (200, "cut-off")
                assert said["routes_age_s"] > 0
                answers += [client.run("mood", "x") for _ in range(5)]
                assert app.routes.get("mood").revision == 1
            else:
                assert (status, said["code"]) == (503, "database-unavailable")
            assert ask(f"{url}/healthz") == (200, {"status": "ok"})
            until(lambda: series(url, "inhouse_routes_age_seconds") > 0.1)
            (told,) = [one.json for one in hook.wait_for(1)]
            assert (told["status"], told["code"]) == ("raised", "database-cut-off")
            assert ask(move, {"candidate": "up/third", "weight": 100, "reason": "no"})[0] == 503
            wire.mend()
            until(lambda: ask(f"{url}/readyz") == (200, {"status": "ok"}))
            over = until(lambda: [one.json for one in hook.deliveries if _is_over(one.json)])
            assert [one["code"] for one in over] == ["database-cut-off"]
            until(lambda: series(url, 'inhouse_mirror_stale{table="routes"}') == 0)
            app.recorder.flush(PATIENCE_S)
            assert ask(move, {"candidate": "up/third", "weight": 100, "reason": "on"})[0] == 200
            assert client.run("mood", "x").model_version == "up/third"
            kept = ask(f"{url}/v1/alerts?code=database-cut-off")[1]
            assert [(one["raised"], one["ended_at"] is None) for one in kept] == [(1, False)]
        with app.database.read() as unit:
            stored = {row[0] for row in unit.exec_driver_sql("SELECT id FROM interaction")}
        app.database.close()
    assert {one.model_version for one in answers} == {"up/second"}
    assert {one.interaction_id for one in answers} <= stored
    lines = [(line.message, vars(line).get("values", {})) for line in caplog.records]
    said_so = [event for event, said in lines if said.get("kept", said.get("read")) == "routes"]
    assert said_so == ["cut off from the database", "the database answers again"]


def _is_over(notice: dict[str, Any]) -> bool:
    return notice["status"] == "resolved"
