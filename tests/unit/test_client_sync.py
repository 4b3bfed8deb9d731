"""The SDK by itself: what it sends, and what it makes of answers that are not Inhouse's."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar

import pytest

from inhouse.client.errors import ApiError
from inhouse.client.sync import Client

ANSWER = {
    "interaction_id": "an-id",
    "task": "sentiment",
    "output": {"label": "good"},
    "model_version": "sentiment@1",
    "arm": "incumbent",
    "flagged": False,
    "latency_ms": 1.5,
    "cost": 0.0,
    "news": "a field of a later version",
}


class Scripted(BaseHTTPRequestHandler):
    """Answers what the test wants and keeps what was asked."""

    protocol_version = "HTTP/1.1"
    status: ClassVar[int] = 200
    body: ClassVar[bytes] = b"{}"
    extra: ClassVar[dict[str, str]] = {}
    asked: ClassVar[list[tuple[str, dict[str, str], Any]]] = []

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["content-length"]))
        named = {name.lower(): value for name, value in self.headers.items()}
        self.asked.append((self.path, named, json.loads(raw)))
        self.send_response(self.status)
        for name, value in {**self.extra, "content-length": str(len(self.body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def url() -> Iterator[str]:
    Scripted.status, Scripted.body = 200, json.dumps(ANSWER).encode()
    Scripted.extra, Scripted.asked = {}, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_call_is_sent_as_the_models_say(url: str) -> None:
    with Client(f"{url}/gateway/", key="k") as client:
        answer = client.run("sentiment", "text", unit="u", tags={"a": "b"}, idempotency_key="i")
    assert answer.output == {"label": "good"}
    ((path, headers, body),) = Scripted.asked
    assert path == "/gateway/v1/tasks/sentiment/run"
    assert (headers["authorization"], headers["idempotency-key"]) == ("Bearer k", "i")
    assert body == {
        "input": "text",
        "unit": "u",
        "subject": None,
        "tags": {"a": "b"},
        "model": None,
    }


def test_a_task_name_cannot_leave_its_place(url: str) -> None:
    with Client(url) as client:
        client.run("a/../b?c", "text")
    assert Scripted.asked[0][0] == "/v1/tasks/a%2F..%2Fb%3Fc/run"


def test_a_refusal_is_an_error_with_everything_that_was_said(url: str) -> None:
    problem = {
        "type": "urn:inhouse:error:no-backend",
        "title": "No backend",
        "status": 503,
        "detail": "no model answered",
        "code": "no-backend",
        "hint": "look at the chain",
    }
    Scripted.status, Scripted.body = 503, json.dumps(problem).encode()
    Scripted.extra = {"retry-after": "7", "x-inhouse-interaction-id": "an-id"}
    with Client(url) as client, pytest.raises(ApiError) as caught:
        client.run("sentiment", "x")
    error = caught.value
    assert (error.status, error.code, error.retry_after) == (503, "no-backend", 7.0)
    assert (error.interaction_id, error.hint) == ("an-id", "look at the chain")
    assert str(error) == "no model answered (look at the chain)"


def test_an_answer_of_somebody_else_is_said_to_be_one(url: str) -> None:
    Scripted.status, Scripted.body = 502, b"<html>Bad Gateway</html>"
    with Client(url) as client, pytest.raises(ApiError) as caught:
        client.run("sentiment", "x")
    assert (caught.value.status, caught.value.code) == (502, "not-inhouse")


def test_a_server_that_is_not_there(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}") as client, pytest.raises(ApiError) as caught:
        client.run("sentiment", "x")
    assert (caught.value.status, caught.value.code) == (0, "unreachable")
    assert "inhouse serve" in caught.value.hint


def test_a_server_that_says_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Client(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.05) as client,
        pytest.raises(ApiError, match="timed out") as caught,
    ):
        client.run("sentiment", "x")
    assert caught.value.code == "unreachable"


@pytest.mark.parametrize("url", ["localhost:8040", "ftp://a", "http://", ""])
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        Client(url)


def test_the_sdk_stands_alone() -> None:
    """It brings no other package of Inhouse, no web framework and no database along."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, inhouse.client.sync; print(*sys.modules)",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    ours = {name for name in told if name.startswith("inhouse.")}
    assert {name for name in ours if not name.startswith("inhouse.client")} == set()
    assert not {"fastapi", "sqlalchemy", "uvicorn", "httpx"} & set(told)
