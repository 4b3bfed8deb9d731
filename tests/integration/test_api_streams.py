"""Chats whole and token by token under one policy: what passes, what falls back, what is kept."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.interactions.record import InteractionRecord
from inhouse.interactions.search import search
from inhouse.settings import RecordingSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import (
    bad_chunks,
    close_before_head,
    close_in_head,
    garbage,
    hang,
    raw_body,
    reset,
    status,
)
from inhouse.testing.upstream_exchange import Behaviour
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import (
    stream,
    stream_error_event,
    stream_hang,
    stream_then_cut,
    stream_then_end,
    stream_then_reset,
)

TOKENS = ["All ", "is ", "well", "."]
HELLO = [{"role": "user", "content": "How is it?"}]
CHAIN = ("up/bad", "up/good")
FAULTS: dict[str, Behaviour] = {
    "500": status(500),
    "429": status(429, retry_after=0),
    "404": status(404),
    "reset": reset(),
    "closed": close_before_head(),
    "half-a-head": close_in_head(),
    "garbage": garbage(),
    "no-json": raw_body(b"<html>"),
    "bad-chunks": bad_chunks(),
    "hang": hang(),
}
EARLY = {
    "cut": stream_then_cut(TOKENS, after=0),
    "reset-early": stream_then_reset(TOKENS, after=0),
    "ended": stream_then_end(TOKENS, after=0),
    "error-event": stream_error_event(TOKENS, after=0),
    "silent": stream_hang(TOKENS, after=0),
}
LATE = {
    "cut": stream_then_cut(TOKENS, after=2),
    "reset": stream_then_reset(TOKENS, after=2),
    "ended": stream_then_end(TOKENS, after=2),
    "error-event": stream_error_event(TOKENS, after=2),
}


class Server:
    """A server, its upstream, and calls without any client library in between."""

    def __init__(self, app: App, handle: ServerHandle, upstream: ScriptedUpstream) -> None:
        self.app = app
        self.handle = handle
        self.upstream = upstream
        self.url = urlsplit(handle.url)

    def connect(self) -> http.client.HTTPConnection:
        assert self.url.hostname is not None
        return http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=60)

    def post(self, **body: Any) -> tuple[int, dict[str, str], bytes]:
        connection = self.connect()
        headers = {"content-type": "application/json"}
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        response = connection.getresponse()
        found = response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()
        connection.close()
        return found

    def recorded(self) -> list[InteractionRecord]:
        self.app.recorder.flush()
        with self.app.database.read() as unit:
            return search(unit, limit=1000)

    def wait_for_record(self) -> InteractionRecord:
        """The one interaction, as soon as it is there."""
        deadline = time.monotonic() + 30
        while not (rows := self.recorded()):
            assert time.monotonic() < deadline, "nothing was recorded"
        (row,) = rows
        return row


Make = Callable[..., Server]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Server] = []

    def build(script: dict[str, Behaviour | str], **fields: Any) -> Server:
        upstream = ScriptedUpstream(script).start()
        settings = Settings(
            upstreams={"up": UpstreamSettings(base_url=upstream.base_url)},
            tasks={
                "talk": TaskSettings(kind="text", chain=CHAIN, timeout_s=30.0),
                "brief": TaskSettings(kind="text", chain=CHAIN, timeout_s=30.0, try_timeout_s=0.5),
                "alone": TaskSettings(kind="text", chain=("up/bad",), timeout_s=30.0),
                "mood": TaskSettings(builtin="sentiment", kind="choice", chain=("up/word",)),
            },
            folder=tmp_path,
            **fields,
        )
        app = bootstrap(settings)
        made.append(Server(app, serve_in_thread(app), upstream))
        return made[-1]

    yield build
    for server in made:
        server.handle.stop()
        server.upstream.stop()


def events(body: bytes) -> list[Any]:
    """The data of server-sent events, the last one being ``[DONE]`` as text."""
    lines = [line for line in body.decode().split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    datas = [line.removeprefix("data: ") for line in lines]
    return [one if one == "[DONE]" else json.loads(one) for one in datas]


def said(found: list[Any]) -> str:
    chunks = [one for one in found if one != "[DONE]" and one.get("choices")]
    return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)


def test_a_stream_passes_through_byte_for_byte(make: Make) -> None:
    server = make({"good": stream(TOKENS)})
    status_, headers, body = server.post(model="up/good", messages=HELLO, stream=True, top_k=3)
    direct = http.client.HTTPConnection("127.0.0.1", server.upstream.port, timeout=20)
    direct.request(
        "POST",
        "/v1/chat/completions",
        json.dumps({"model": "good", "messages": HELLO, "stream": True}),
    )
    assert (status_, body) == (200, direct.getresponse().read())
    direct.close()
    assert headers["content-type"].startswith("text/event-stream")
    assert headers["x-inhouse-model-version"] == "up/good"
    assert said(events(body)) == "All is well."
    row = server.wait_for_record()
    assert (row.id, row.status) == (headers["x-inhouse-interaction-id"], "answered")
    assert row.output == {"text": "All is well."}
    assert row.output_tokens > 0, "token counts are asked for, and kept from who did not ask"
    sent = server.upstream.requests[0].body
    assert (sent["model"], sent["stream"], sent["top_k"]) == ("good", True, 3)


def test_token_counts_reach_who_asks_for_them(make: Make) -> None:
    server = make({"good": stream(TOKENS)})
    options = {"include_usage": True}
    found = server.post(model="up/good", messages=HELLO, stream=True, stream_options=options)
    *_, counted, done = events(found[2])
    assert done == "[DONE]"
    assert counted["choices"] == []
    assert counted["usage"]["completion_tokens"] > 0


def test_a_task_that_takes_messages_passes_them_on(make: Make) -> None:
    server = make({"bad": "fine", "good": "other"})
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    status_, headers, body = server.post(
        model="task:talk", messages=HELLO, tools=tools, user="ann", metadata={"desk": "a"}
    )
    assert (status_, json.loads(body)["choices"][0]["message"]["content"]) == (200, "fine")
    assert server.upstream.requests[0].body["tools"] == tools
    assert (headers["x-inhouse-model-version"], headers["x-inhouse-arm"]) == ("up/bad", "incumbent")
    (row,) = server.recorded()
    assert (row.task, row.input, row.output) == ("talk", HELLO, {"text": "fine"})
    assert (row.tags, row.raw, row.rescued) == ({"desk": "a"}, None, False)


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("fault", FAULTS)
def test_before_the_first_token_the_next_model_answers(
    make: Make, fault: str, streamed: bool
) -> None:
    server = make({"bad": FAULTS[fault], "good": stream(TOKENS) if streamed else "All is well."})
    model = "task:brief" if fault == "hang" else "task:talk"
    status_, headers, body = server.post(model=model, messages=HELLO, stream=streamed)
    assert (status_, headers["x-inhouse-model-version"]) == (200, "up/good")
    if streamed:
        found = events(body)
        assert (said(found), found[-1]) == ("All is well.", "[DONE]")
        assert not any("error" in one for one in found)
    else:
        assert json.loads(body)["choices"][0]["message"]["content"] == "All is well."
    (row,) = server.recorded()
    assert (row.status, row.rescued, row.reference) == ("answered", True, "up/good")
    assert row.attempts[0]["reference"] == "up/bad"
    assert row.attempts[0]["ok"] is False


@pytest.mark.parametrize("fault", EARLY)
def test_a_stream_that_dies_before_its_first_token_falls_back(make: Make, fault: str) -> None:
    server = make({"bad": EARLY[fault], "good": stream(TOKENS)})
    model = "task:brief" if fault == "silent" else "task:talk"
    status_, headers, body = server.post(model=model, messages=HELLO, stream=True)
    assert (status_, headers["x-inhouse-model-version"]) == (200, "up/good")
    assert said(events(body)) == "All is well."


@pytest.mark.parametrize("kept", ["", "connection: keep-alive\r\n"])
def test_a_caller_of_http_1_0_reads_a_stream_up_to_the_end_of_the_connection(
    make: Make, kept: str
) -> None:
    server = make({"good": stream(TOKENS)})
    body = json.dumps({"model": "up/good", "messages": HELLO, "stream": True})
    head = f"host: {server.url.netloc}\r\ncontent-type: application/json\r\n{kept}"
    head = f"POST /v1/chat/completions HTTP/1.0\r\n{head}content-length: {len(body)}\r\n\r\n"
    with socket.create_connection((server.url.hostname, server.url.port), timeout=20) as caller:
        caller.sendall((head + body).encode())
        answer = b"".join(iter(lambda: caller.recv(65536), b""))
    answered, _, streamed = answer.partition(b"\r\n\r\n")
    assert answered.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answered
    assert b"transfer-encoding" not in answered
    assert said(events(streamed)) == "All is well."


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
def test_when_nobody_answers_the_error_is_an_answer_of_its_own(make: Make, streamed: bool) -> None:
    server = make({"bad": status(500)})
    status_, headers, body = server.post(model="task:alone", messages=HELLO, stream=streamed)
    assert (status_, headers["content-type"]) == (503, "application/json")
    assert json.loads(body)["error"]["code"] == "no-backend"
    (row,) = server.recorded()
    assert (row.status, row.error_code) == ("failed", "no-backend")


@pytest.mark.parametrize("fault", LATE)
def test_after_the_first_token_one_error_event_ends_the_stream(make: Make, fault: str) -> None:
    server = make({"bad": LATE[fault], "good": stream(TOKENS)})
    status_, headers, body = server.post(model="task:talk", messages=HELLO, stream=True)
    assert (status_, headers["x-inhouse-model-version"]) == (200, "up/bad")
    *chunks, last = events(body)
    assert said(chunks) == "All is "
    assert set(last) == {"error"}
    assert {"message", "type", "code"} <= set(last["error"])
    assert not any("error" in one for one in chunks)
    row = server.wait_for_record()
    assert (row.status, row.error_code) == ("failed", last["error"]["code"])
    assert server.upstream.hits["good"] == 0


def test_streams_that_break_off_open_the_breaker(make: Make) -> None:
    server = make({"bad": LATE["cut"], "good": stream(TOKENS)})
    for _ in range(5):
        server.post(model="task:talk", messages=HELLO, stream=True)
    answered = server.post(model="task:talk", messages=HELLO, stream=True)
    assert answered[1]["x-inhouse-model-version"] == "up/good"
    assert server.upstream.hits["bad"] == 5


def test_a_task_with_a_prompt_of_its_own_streams_its_answer(make: Make) -> None:
    server = make({"word": "positive"})
    options = {"include_usage": True}
    status_, headers, body = server.post(
        model="task:mood", messages=HELLO, stream=True, stream_options=options
    )
    found = events(body)
    assert (status_, said(found)) == (200, '{"label":"positive"}')
    assert found[-1] == "[DONE]"
    assert found[-2]["usage"]["total_tokens"] == 10
    assert found[-3]["choices"][0]["finish_reason"] == "stop"
    assert headers["x-inhouse-interaction-id"] == server.wait_for_record().id


@pytest.mark.parametrize(
    ("script", "streamed"),
    [(hang(), False), (stream_hang(TOKENS, after=2), True)],
    ids=["whole", "stream"],
)
def test_a_caller_that_hangs_up_takes_the_upstreams_call_along(
    make: Make, script: Behaviour, streamed: bool
) -> None:
    server = make({"good": script})
    body = json.dumps({"model": "up/good", "messages": HELLO, "stream": streamed}).encode()
    assert server.url.hostname is not None
    assert server.url.port is not None
    with socket.create_connection((server.url.hostname, server.url.port), timeout=20) as caller:
        head = (
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        caller.sendall(head.encode() + body)
        server.upstream.wait_until(lambda: server.upstream.hits["good"] == 1)
        if streamed:
            seen = b""
            while b"is " not in seen:
                seen += caller.recv(65536)
    server.upstream.wait_until(lambda: server.upstream.open_connections == 0)
    row = server.wait_for_record()
    assert (row.status, row.error_code) == ("cancelled", "cancelled")
    if streamed:
        assert row.attempts[0]["ok"] is True


def test_durable_streams_are_recorded_before_their_end_is_sent(make: Make) -> None:
    server = make({"good": stream(TOKENS)}, recording=RecordingSettings(durability="durable"))
    connection = server.connect()
    body = json.dumps({"model": "up/good", "messages": HELLO, "stream": True})
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    seen = b""
    while b"[DONE]" not in seen:
        piece = response.read1(64)
        assert piece, "the stream ended without [DONE]"
        seen += piece
    with server.app.database.read() as unit:
        (row,) = search(unit)
    assert row.status == "answered"
    connection.close()


def test_a_stop_lets_a_stream_finish(make: Make) -> None:
    server = make({"good": stream(TOKENS * 10, pause_s=0.02)})
    connection = server.connect()
    body = json.dumps({"model": "up/good", "messages": HELLO, "stream": True})
    headers = {"content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", body, headers)
    response = connection.getresponse()
    first = response.read1(64)
    server.handle.begin_stop()
    rest = response.read()
    assert said(events(first + rest)) == "All is well." * 10
    connection.close()
    server.handle.stop()
    with server.app.database.read() as unit:
        assert search(unit)[0].status == "answered"
