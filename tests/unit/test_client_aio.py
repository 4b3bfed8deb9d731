"""The SDK for asyncio by itself: what it sends, its connections, and answers of every framing."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from inhouse.client.aio import AsyncClient
from inhouse.client.batch import BatchInput
from inhouse.client.errors import ApiError

ANSWER = json.dumps(
    {
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
).encode()
Reply = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Asked:
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Server:
    url: str = ""
    connections: int = 0
    open: int = 0
    asked: list[Asked] = field(default_factory=list)
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(30), self.changed:
            await self.changed.wait_for(condition)


def says(*pieces: bytes, close: bool = False) -> Reply:
    async def reply(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        if close:
            writer.close()

    return reply


def framed(body: bytes = ANSWER, status: str = "200 OK", **headers: str) -> bytes:
    named = {"content-length": str(len(body)), **headers}
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in named.items())
    return f"HTTP/1.1 {status}\r\n{lines}\r\n".encode() + body


@asynccontextmanager
async def serving(reply: Reply) -> AsyncIterator[Server]:
    made = Server()

    async def note(opened: int = 0, closed: int = 0, asked: Asked | None = None) -> None:
        async with made.changed:
            made.connections += opened
            made.open += opened - closed
            made.asked += [asked] if asked else []
            made.changed.notify_all()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await note(opened=1)
        try:
            while not writer.is_closing():
                first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                headers = dict(line.split(": ", 1) for line in rest if line)
                body = await reader.readexactly(int(headers["content-length"]))
                await note(asked=Asked(first.split()[1], headers, body and json.loads(body)))
                await reply(reader, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()
            await note(closed=1)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()
    await made.until(lambda: made.open == 0)


def test_a_call_is_sent_as_the_models_say() -> None:
    async def scenario() -> None:
        async with serving(says(framed())) as server:
            async with AsyncClient(f"{server.url}/gateway/", key="k") as client:
                answer = await client.run(
                    "a/../b?c", "text", unit="u", tags={"a": "b"}, idempotency_key="i"
                )
            assert answer.output == {"label": "good"}
            (asked,) = server.asked
            assert asked.path == "/gateway/v1/tasks/a%2F..%2Fb%3Fc/run"
            assert asked.headers["authorization"] == "Bearer k"
            assert asked.headers["idempotency-key"] == "i"
            assert asked.headers["host"] == server.url.removeprefix("http://")
            assert asked.body["tags"] == {"a": "b"}

    asyncio.run(scenario())


def test_a_batch_is_sent_and_read() -> None:
    results = {"results": [{"ok": json.loads(ANSWER)}, {"error": None, "retry_after": 3}]}

    async def scenario() -> None:
        async with (
            serving(says(framed(json.dumps(results).encode()))) as server,
            AsyncClient(server.url) as client,
        ):
            first, second = await client.run_batch(
                "sentiment", ["a", BatchInput(input="b", unit="u")], model="local/x"
            )
            assert first.ok is not None
            assert second.retry_after == 3
            assert server.asked[0].path == "/v1/tasks/sentiment/run-batch"
            assert server.asked[0].body == {
                "inputs": [{"input": "a"}, {"input": "b", "unit": "u"}],
                "model": "local/x",
            }

    asyncio.run(scenario())


def test_calls_one_after_the_other_share_a_connection() -> None:
    async def scenario() -> None:
        async with serving(says(framed())) as server, AsyncClient(server.url) as client:
            for _ in range(5):
                await client.run("sentiment", "x")
            assert (server.connections, len(server.asked)) == (1, 5)

    asyncio.run(scenario())


def test_calls_at_once_have_so_many_connections_and_no_more() -> None:
    async def scenario() -> None:
        async with (
            serving(says(framed())) as server,
            AsyncClient(server.url, connections=3) as client,
        ):
            async with asyncio.TaskGroup() as group:
                for number in range(20):
                    group.create_task(client.run("sentiment", str(number)))
            assert server.connections <= 3
            assert sorted(int(asked.body["input"]) for asked in server.asked) == list(range(20))

    asyncio.run(scenario())


def test_a_kept_connection_that_the_server_closed_is_not_used() -> None:
    async def scenario() -> None:
        async with serving(says(framed(), close=True)) as server, AsyncClient(server.url) as client:
            for _ in range(3):
                await client.run("sentiment", "x")
                await server.until(lambda: server.open == 0)
            assert (server.connections, len(server.asked)) == (3, 3)

    asyncio.run(scenario())


def test_a_call_that_is_cancelled_closes_its_connection() -> None:
    async def scenario() -> None:
        async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with serving(hang) as server, AsyncClient(server.url) as client:
            call = asyncio.create_task(client.run("sentiment", "x"))
            await server.until(lambda: len(server.asked) == 1)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            await server.until(lambda: server.open == 0)

    asyncio.run(scenario())


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "reply",
    [
        says(
            CHUNKED,
            *(b"%x;part=1\r\n%b\r\n" % (len(p), p) for p in (ANSWER[:7], ANSWER[7:])),
            b"0\r\nx-trailer: 1\r\n\r\n",
        ),
        says(b"HTTP/1.1 200 OK\r\n\r\n" + ANSWER, close=True),
        says(b"HTTP/1.0 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)),
        says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n", framed()),
        says(framed(connection="close"), close=True),
        says(*(bytes([byte]) for byte in framed())),
    ],
    ids=["chunked", "until-close", "http-1.0", "interim", "said-close", "byte-by-byte"],
)
def test_every_framing_of_http_is_read(reply: Reply) -> None:
    async def scenario() -> None:
        async with serving(reply) as server, AsyncClient(server.url) as client:
            for _ in range(2):
                assert (await client.run("sentiment", "x")).output == {"label": "good"}

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "reply",
    [
        says(close=True),
        says(b"HTTP/1.1 200 OK\r\ncontent-le", close=True),
        says(framed()[:-5], close=True),
        says(b"\x16\x03\x01 220 mail\r\n\r\n", close=True),
        says(CHUNKED + b"zz\r\n", close=True),
        says(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 200_000, close=True),
    ],
    ids=["nothing", "half-head", "half-body", "garbage", "bad-chunk", "huge-head"],
)
def test_what_is_no_answer_is_unreachable(reply: Reply) -> None:
    async def scenario() -> None:
        async with serving(reply) as server, AsyncClient(server.url) as client:
            with pytest.raises(ApiError) as caught:
                await client.run("sentiment", "x")
            assert (caught.value.status, caught.value.code) == (0, "unreachable")
            assert len(server.asked) == 1

    asyncio.run(scenario())


def test_a_refusal_is_an_error_with_everything_that_was_said() -> None:
    problem = {
        "type": "urn:inhouse:error:no-backend",
        "title": "No backend",
        "status": 503,
        "detail": "no model answered",
        "code": "no-backend",
        "hint": "look at the chain",
    }
    body = json.dumps(problem).encode()
    reply = says(framed(body, "503 Service Unavailable", retry_after="7"))

    async def scenario() -> None:
        async with serving(reply) as server, AsyncClient(server.url) as client:
            with pytest.raises(ApiError, match="no model answered") as caught:
                await client.run("sentiment", "x")
            error = caught.value
            assert (error.status, error.code, error.retry_after) == (503, "no-backend", 7.0)

    asyncio.run(scenario())


def test_an_answer_of_somebody_else_is_said_to_be_one() -> None:
    async def scenario() -> None:
        reply = says(framed(b"<html>", "502 Bad Gateway"))
        async with serving(reply) as server, AsyncClient(server.url) as client:
            with pytest.raises(ApiError, match="HTTP 502 Bad Gateway") as caught:
                await client.run("sentiment", "x")
            assert caught.value.code == "not-inhouse"

    asyncio.run(scenario())


def test_a_server_that_says_nothing_is_given_up() -> None:
    async def scenario() -> None:
        async with serving(says()) as server, AsyncClient(server.url, timeout_s=0.05) as client:
            with pytest.raises(ApiError, match="timed out") as caught:
                await client.run("sentiment", "x")
            assert caught.value.code == "unreachable"

    asyncio.run(scenario())


def test_a_key_with_a_line_break_is_not_sent() -> None:
    async def scenario() -> None:
        async with (
            serving(says(framed())) as server,
            AsyncClient(server.url, key="k\r\nx: y") as client,
        ):
            with pytest.raises(ApiError, match="line break"):
                await client.run("sentiment", "x")
            assert server.asked == []

    asyncio.run(scenario())


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(ValueError, match="not an http"):
        AsyncClient("localhost:8040")


def test_the_sdk_stands_alone() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import sys, inhouse.client.aio; print(*sys.modules)"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    ours = {name for name in told if name.startswith("inhouse.")}
    assert {name for name in ours if not name.startswith("inhouse.client")} == set()
    assert not {"fastapi", "sqlalchemy", "uvicorn", "httpx"} & set(told)
