"""The least that a Python gateway can be: bare ASGI on uvicorn + httptools, a pool of kept-alive
connections, and nothing else but, if wanted, a row per call in SQLite.

``python -m benchmarks.gateway.floors PORT UPSTREAM_PORT off|fast|durable DATABASE``
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import sys
import threading
import time
import uuid
from typing import Any, cast

import msgspec
import uvicorn

_BATCH = 512
_WINDOW_S = {"fast": 0.02, "durable": 0.002}
_HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n"
    b"authorization: Bearer none\r\ncontent-length: %d\r\n\r\n%b"
)
_TABLE = """create table interaction (id text primary key, created_at real, task text, model text,
latency_ms real, input blob, output blob)"""
_INSERT = "insert into interaction values (?, ?, ?, ?, ?, ?, ?)"


class Upstream(asyncio.Protocol):
    """One connection to the upstream; answers have a content-length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = cast("asyncio.Transport", transport)
        self._loop = asyncio.get_running_loop()

    async def ask(self, body: bytes) -> bytes:
        self._data = b""
        self._answer: asyncio.Future[bytes] = self._loop.create_future()
        self._out.write(_HEAD % (len(body), body))
        return await self._answer

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        end = self._data.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._data[:end].lower()
        place = head.find(b"content-length:") + 15
        line = head.find(b"\r\n", place)
        length = int(head[place : line if line > 0 else None])
        if len(self._data) >= end + 4 + length:
            self._answer.set_result(self._data[end + 4 :])

    def connection_lost(self, error: Exception | None) -> None:
        if not self._answer.done():
            self._answer.set_exception(error or ConnectionError("closed"))


class Recorder:
    """A thread that commits what is put, in batches; ``durable`` waits for the commit."""

    def __init__(self, mode: str, path: str) -> None:
        self._mode = mode
        self._rows: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._database.execute("pragma journal_mode = wal")
        full = "full" if mode == "durable" else "normal"
        self._database.execute(f"pragma synchronous = {full}")
        self._database.execute(_TABLE)
        self._database.execute("create index at_task on interaction (task, created_at)")
        threading.Thread(target=self._work, daemon=True).start()

    async def put(self, row: tuple[Any, ...]) -> None:
        if self._mode == "fast":
            self._rows.put((row, None, None))
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._rows.put((row, done, loop))
        await done

    def _work(self) -> None:
        while True:
            batch = [self._rows.get()]
            end = time.monotonic() + _WINDOW_S[self._mode]
            while len(batch) < _BATCH and (left := end - time.monotonic()) > 0:
                try:
                    batch.append(self._rows.get(timeout=left))
                except queue.Empty:
                    break
            self._database.execute("begin")
            self._database.executemany(_INSERT, [row for row, _, _ in batch])
            self._database.execute("commit")
            for _, done, loop in batch:
                if done is not None:
                    loop.call_soon_threadsafe(done.set_result, None)


class Floor:
    """The ASGI application."""

    def __init__(self, upstream_port: int, recorder: Recorder | None) -> None:
        self._port = upstream_port
        self._recorder = recorder
        self._idle: list[Upstream] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        if scope["method"] != "POST":
            await _respond(send, b"{}")
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        began = time.perf_counter()
        parsed = msgspec.json.decode(body)
        upstream = self._idle.pop() if self._idle else await self._connect()
        output = await upstream.ask(msgspec.json.encode(parsed))
        self._idle.append(upstream)
        if self._recorder is not None:
            took = (time.perf_counter() - began) * 1e3
            about = (uuid.uuid4().hex, time.time(), "bench", parsed["model"], took)
            await self._recorder.put((*about, body, output))
        await _respond(send, output)

    async def _connect(self) -> Upstream:
        loop = asyncio.get_running_loop()
        _, upstream = await loop.create_connection(Upstream, "127.0.0.1", self._port)
        return upstream


async def _respond(send: Any, body: bytes) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(port: int, upstream_port: int, mode: str, database: str) -> None:
    """Serve until ended."""
    recorder = None if mode == "off" else Recorder(mode, database)
    uvicorn.run(
        Floor(upstream_port, recorder),
        host="127.0.0.1",
        port=port,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        access_log=False,
        log_level="error",
    )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4])
