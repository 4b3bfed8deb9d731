"""Bad requests over real sockets: a clear answer, nothing recorded, and the server lives on."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.sync import Client
from inhouse.interactions.search import search
from inhouse.settings import ServerSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_server import ScriptedUpstream

RUN = "/v1/tasks/sentiment/run"
CHAT = "/v1/chat/completions"
BATCH = "/v1/tasks/sentiment/run-batch"
ROUTE = "/v1/routes/sentiment"
MIB = 1024 * 1024


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({"good": "positive"}) as server:
        yield server


@pytest.fixture(scope="module")
def app(upstream: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> App:
    settings = Settings(
        server=ServerSettings(body_limit_mb=12),
        upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
        tasks={
            "sentiment": TaskSettings(builtin="sentiment", kind="choice", chain=("local/good",))
        },
        folder=tmp_path_factory.mktemp("project"),
    )
    return bootstrap(settings)


@pytest.fixture(scope="module")
def server(app: App) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


@pytest.fixture(autouse=True)
def answered(app: App, server: ServerHandle) -> Iterator[set[str]]:
    """After every fault the next call is answered, and nothing is recorded but it and what the test
    names in this set."""
    before = recorded(app)
    named: set[str] = set()
    yield named
    with Client(server.url) as client:
        answer = client.run("sentiment", "Profits rose.")
    assert answer.output == {"label": "positive"}
    assert recorded(app) - before == named | {answer.interaction_id}


def recorded(app: App) -> set[str]:
    app.recorder.flush()
    with app.database.read() as unit:
        return {one.id for one in search(unit, limit=1000)}


def connect(server: ServerHandle) -> socket.socket:
    host, port = server.url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=30)


def head(path: str, length: int | None, *more: str, method: str = "POST") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", "content-type: application/json"]
    lines += [] if length is None else [f"content-length: {length}"]
    return "\r\n".join([*lines, *more, "", ""]).encode()


def read_answer(sock: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One whole answer of a kept-alive connection."""
    file = sock.makefile("rb")
    code = int(file.readline().split()[1])
    headers = {}
    while line := file.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.lower()] = value.strip()
    return code, headers, file.read(int(headers["content-length"]))


def send(server: ServerHandle, path: str, body: bytes, *more: str) -> tuple[int, dict[str, Any]]:
    with connect(server) as sock:
        sock.sendall(head(path, len(body), *more) + body)
        code, headers, content = read_answer(sock)
    kind = "json" if path == CHAT else "problem+json"
    assert headers["content-type"] == f"application/{kind}"
    problem = json.loads(content)
    return code, problem["error"] if path == CHAT else problem


def message(body: bytes) -> bytes:
    return b'{"model":"task:sentiment","messages":%b}' % body


FIELDS = {RUN: "input", CHAT: "model", BATCH: "model", "/v1/feedback": "kind", ROUTE: "any"}


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"hello", "not JSON"),
        (b'{"FIELD": NaN}', "not JSON"),
        (b'{"FIELD": Infinity}', "not JSON"),
        (b'{"FIELD": -Infinity}', "not JSON"),
        (b'{"FIELD": "\\ud800"}', "half of a surrogate pair"),
        (b'{"FIELD": "\\ud800 in the middle"}', "half of a surrogate pair"),
        (b'{"FIELD": "caf\xe9"}', "not UTF-8"),
        (b'{"FIELD": "\xed\xa0\x80"}', "not UTF-8"),
        (b'{"FIELD": "a\x00b"}', "not JSON"),
        (b'{"FIELD": "half', "ends too early"),
        (b'{"FIELD": ', "ends too early"),
        (b"\xff\xfe{\x00}\x00", "not JSON"),
    ],
)
def test_what_is_not_json_is_said_to_be_none(
    server: ServerHandle, path: str, body: bytes, said: str
) -> None:
    code, problem = send(server, path, body.replace(b"FIELD", FIELDS[path].encode()))
    assert (code, problem["code"]) == (400, "not-json")
    assert said in problem.get("detail", problem.get("message"))


@pytest.mark.parametrize("path", FIELDS)
@pytest.mark.parametrize("start", [b"[", b'{"messages":', b'{"a":'])
def test_nesting_without_end_is_refused(server: ServerHandle, path: str, start: bytes) -> None:
    code, problem = send(server, path, start * 200_000)
    assert code in (400, 422)
    assert problem["code"] in ("not-json", "invalid-field", "unknown-field")


@pytest.mark.parametrize("path", [RUN, CHAT, BATCH, "/v1/feedback"])
def test_an_empty_body_is_said_to_be_empty(server: ServerHandle, path: str) -> None:
    code, problem = send(server, path, b"")
    assert (code, problem["code"]) == (400, "not-json")
    assert "the body is empty" in problem.get("detail", problem.get("message"))


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        (RUN, b'{"input": 1}', "input: expected text, got a whole number"),
        (RUN, b'{"input": null}', "input: expected text, got null"),
        (RUN, b'{"input": ["a"]}', "input: expected text, got a list"),
        (RUN, b'{"input": "a", "tags": {"a": {"b": 1}}}', "tags.*: expected text, got an object"),
        (RUN, b'{"input": "a", "tags": {"a": 1e999}}', "tags.*: number out of range"),
        (RUN, b'{"input": "a", "unit": ""}', "unit: expected text of length >= 1"),
        (RUN, b'{"input": "a", "temperature": 1}', "temperature is no field of this request"),
        (RUN, b'{"unit": "a"}', "input is missing"),
        (RUN, b'"a"', "the body: expected an object, got text"),
        (CHAT, message(b"[]"), "messages: expected a list of length >= 1"),
        (CHAT, message(b'["hello"]'), "messages[0]: expected an object, got text"),
        (CHAT, message(b'[{"role":"user","content":7}]'), "messages.0.content"),
        (CHAT, b'{"messages": [{}]}', "model is missing"),
        (CHAT, b'{"model": 7, "messages": [{}]}', "model: expected text, got a whole number"),
        (CHAT, b'{"model":"task:sentiment","messages":[{}],"metadata":{"a":1}}', "metadata.*"),
        ("/v1/feedback", b'{"interaction_id": "x"}', "interaction_id"),
        (BATCH, b'{"inputs": {}}', "inputs: expected a list, got an object"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    server: ServerHandle, path: str, body: bytes, field: str
) -> None:
    code, problem = send(server, path, body)
    assert code == 422
    assert field in problem.get("detail", problem.get("message"))


def test_of_a_key_that_is_there_twice_the_last_one_counts(server: ServerHandle) -> None:
    _, problem = send(server, RUN, b'{"input": "a", "model": "local/good", "model": "x"}')
    assert "'x'" in problem["detail"]


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "*/*", ""])
@pytest.mark.parametrize("path", [RUN, CHAT, ROUTE])
def test_a_body_of_another_type_is_refused(server: ServerHandle, path: str, kind: str) -> None:
    body = b'{"input": "x"}'
    with connect(server) as sock:
        ask = head(path, len(body)).replace(b"application/json", kind.encode())
        sock.sendall(ask + body)
        code, _, content = read_answer(sock)
    assert code == 415
    assert b"content-type: application/json" in content


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
@pytest.mark.parametrize("path", [RUN, CHAT, ROUTE])
def test_over_the_limit_is_said_with_the_limit(
    server: ServerHandle, path: str, chunked: bool
) -> None:
    body = b'{"input": "' + b"x" * (12 * MIB) + b'"}'
    with connect(server) as sock:
        if chunked:
            sock.sendall(head(path, None, "transfer-encoding: chunked"))
            for start in range(0, len(body), MIB):
                piece = body[start : start + MIB]
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece))
            sock.sendall(b"0\r\n\r\n")
        else:
            sock.sendall(head(path, len(body)) + body)
        code, _, content = read_answer(sock)
    assert code == 413
    assert b"the body is over 12 MiB" in content
    assert b"server.body_limit_mb" in content


def test_a_length_that_is_a_lie_is_refused_before_the_body(server: ServerHandle) -> None:
    with connect(server) as sock:
        sock.sendall(head(RUN, 10**15))
        assert read_answer(sock)[0] == 413


@pytest.mark.parametrize(
    "ask",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 not http at all\r\n\r\n",
        b"POST /v1/feedback\r\n\r\n",
        b"POST /v1/feedback HTTP/9.9\r\n\r\n",
        head(RUN, None, "content-length: ten"),
        head(RUN, None, "content-length: -5"),
        head(RUN, None, "content-length: 5", "content-length: 6"),
        head(RUN, None, "transfer-encoding: chunked") + b"zz\r\nhello\r\n",
        head(RUN, None, "a header without a colon"),
        head(RUN, 5, "transfer-encoding: chunked") + b"0\r\n\r\n",
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_http_is_told_so_and_closed(server: ServerHandle, ask: bytes) -> None:
    with connect(server) as sock:
        sock.sendall(ask)
        answer = b""
        while piece := sock.recv(65536):
            answer += piece
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 4"))


def test_a_client_that_sends_half_a_body_blocks_nobody(
    server: ServerHandle, answered: set[str]
) -> None:
    slow = [connect(server) for _ in range(50)]
    for number, sock in enumerate(slow):
        sock.sendall(head(RUN, 100) + b'{"input"'[: number % 9])
    with Client(server.url) as client:
        answered.add(client.run("sentiment", "x").interaction_id)
    for sock in slow:
        sock.close()


def test_a_client_that_leaves_in_the_middle_asks_nothing(
    server: ServerHandle, upstream: ScriptedUpstream
) -> None:
    hits = upstream.hits["good"]
    for piece in (b"POST /v1/ta", head(RUN, 100), head(RUN, 100) + b'{"input": "x'):
        with connect(server) as sock:
            sock.sendall(piece)
    assert upstream.hits["good"] == hits


def test_requests_sent_in_one_go_are_answered_in_turn(
    server: ServerHandle, answered: set[str]
) -> None:
    bodies = [b'{"input": "one"}', b"nope", b'{"input": "three"}']
    with connect(server) as sock:
        sock.sendall(b"".join(head(RUN, len(body)) + body for body in bodies))
        file = sock.makefile("rb")
        codes = []
        for _ in bodies:
            codes.append(int(file.readline().split()[1]))
            headers = {}
            while line := file.readline().strip():
                name, _, value = line.partition(b": ")
                headers[name] = value
            content = json.loads(file.read(int(headers[b"content-length"])))
            answered |= {content["interaction_id"]} if codes[-1] == 200 else set()
    assert codes == [200, 400, 200]
    assert len(answered) == 2


def test_many_and_long_headers_do_no_harm(server: ServerHandle, answered: set[str]) -> None:
    body = b'{"input": "x"}'
    more = [f"x-header-{number}: {'y' * 1000}" for number in range(60)]
    with connect(server) as sock:
        sock.sendall(head(RUN, len(body), *more) + body)
        code, headers, _ = read_answer(sock)
    assert code == 200
    answered.add(headers["x-inhouse-interaction-id"])


def test_a_text_under_the_limit_is_answered(server: ServerHandle, answered: set[str]) -> None:
    with Client(server.url) as client:
        answer = client.run("sentiment", "Profits rose. " * (10 * MIB // 14))
    answered.add(answer.interaction_id)
    assert answer.output == {"label": "positive"}


@pytest.mark.parametrize("depth", [50, 400, 700, 900, 990, 2000])
def test_nesting_that_is_read_can_also_be_passed_on(
    server: ServerHandle, answered: set[str], depth: int
) -> None:
    """Whatever depth the parser takes, nothing behind it breaks on."""
    nested = b'{"a":' * depth + b"1" + b"}" * depth
    body = b'{"model":"local/good","messages":[{"role":"user","content":"x"}],"extra":%b}' % nested
    with connect(server) as sock:
        sock.sendall(head(CHAT, len(body)) + body)
        code, headers, content = read_answer(sock)
    assert code in (200, 400)
    if code == 200:
        answered.add(headers["x-inhouse-interaction-id"])
    else:
        assert json.loads(content)["error"]["code"] == "not-json"


def test_nul_is_text_like_any_other(server: ServerHandle, app: App, answered: set[str]) -> None:
    with Client(server.url) as client:
        answer = client.run("sentiment", "a\x00b", unit="u\x00", tags={"k\x00": "\x00"})
    answered.add(answer.interaction_id)


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        done = subprocess.run(
            [sys.executable, "-m", "inhouse.cli.main", "--dir", tmp_path, "serve", "--port", port],
            capture_output=True,
            text=True,
            timeout=180,
        )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: cannot listen on 127.0.0.1 port {port}: ")
    assert "--port 0 takes a free one" in line


def test_a_start_says_which_external_upstream_has_no_key(tmp_path: Path) -> None:
    (tmp_path / "inhouse.toml").write_text('[upstreams.far]\nbase_url = "https://x.example/v1"\n')
    command = [sys.executable, "-m", "inhouse.cli.main", "--dir", tmp_path, "serve", "--port", "0"]
    serving = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    assert serving.stderr is not None
    with serving.stderr:
        said = [serving.stderr.readline(), serving.stderr.readline()]
        serving.send_signal(signal.SIGTERM)
        assert serving.wait(180) == 0
    assert (
        "upstream far is external and has no api_key, nor INHOUSE_UPSTREAMS__FAR__API_KEY\n" in said
    )


@pytest.mark.parametrize("command", [("serve", "--port", "0"), ("worker",)])
def test_a_stop_leaves_a_database_that_is_one_file(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    words = [sys.executable, "-m", "inhouse.cli.main", "--dir", tmp_path, *command]
    running = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    with running.stdout:
        running.stdout.readline()
        assert (tmp_path / ".inhouse" / "inhouse.db-wal").exists()
        running.send_signal(signal.SIGTERM)
        assert running.wait(180) == 0
    assert [path.name for path in (tmp_path / ".inhouse").glob("inhouse.db*")] == ["inhouse.db"]


def test_a_head_without_end_is_refused(server: ServerHandle) -> None:
    with connect(server) as sock:
        sock.sendall(head(RUN, 2)[:-4] + b"\r\nx-long: ")
        with suppress(OSError):
            for _ in range(64):
                sock.sendall(b"y" * 65536)
        answer = b""
        with suppress(OSError):
            while piece := sock.recv(65536):
                answer += piece
    assert answer.startswith(b"HTTP/1.1 400 ") or not answer
    assert not answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("name", ["Upgrade", "upgrade", "UPGRADE"])
def test_an_offer_of_another_protocol_is_passed_over(
    server: ServerHandle, answered: set[str], name: str
) -> None:
    """As Java's HttpClient and ``curl --http2`` make it."""
    body = b'{"input": "x"}'
    more = ("connection: Upgrade, HTTP2-Settings", f"{name}: h2c", "http2-settings: AAEAA")
    with connect(server) as sock:
        for _ in range(2):
            sock.sendall(head(RUN, len(body), *more) + body)
            code, _, content = read_answer(sock)
            assert code == 200
            answered.add(json.loads(content)["interaction_id"])


def test_an_answer_to_head_has_no_body(server: ServerHandle) -> None:
    with connect(server) as sock:
        for path, expected in (("/healthz", 200), (RUN, 405), ("/readyz", 200)):
            sock.sendall(head(path, None, method="HEAD"))
            file = sock.makefile("rb")
            assert int(file.readline().split()[1]) == expected
            while file.readline().strip():
                pass
        sock.sendall(head("/healthz", None, method="GET"))
        assert read_answer(sock)[2] == b'{"status":"ok"}'
