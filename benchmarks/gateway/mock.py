"""A general model that costs nothing: OpenAI's chat over a raw asyncio protocol.

``python -m benchmarks.gateway.mock PORT``. A model whose name begins with ``dead`` answers 500, one
with ``hang`` never; every other one answers at once, or as a stream with pauses of 1 to 6 ms.
``GET /stats`` gives the requests counted by model.
"""

from __future__ import annotations

import asyncio
import sys
from collections import Counter
from typing import cast

import msgspec
import uvloop

from benchmarks.gateway.texts import completion, pauses_ms, stream_events

_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_DEAD = (
    b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: application/json\r\n"
    b'content-length: 56\r\n\r\n{"error":{"message":"the mock is dead","type":"server"}}'
)
_STREAM = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
)
_hits: Counter[str] = Counter()
_streams: set[asyncio.Task[None]] = set()


class Mock(asyncio.Protocol):
    """One connection, kept alive; requests have a content-length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out = cast("asyncio.Transport", transport)
        self._waiting = b""
        self._wanted = 0

    def data_received(self, data: bytes) -> None:
        if self._waiting:
            data = self._waiting + data
        while len(data) >= self._wanted:
            head = data.find(b"\r\n\r\n")
            if head < 0:
                break
            body = head + 4
            length = _content_length(data[:head])
            self._wanted = body + length
            if len(data) < self._wanted:
                break
            self._handle(data[: data.find(b"\r\n")], data[body : self._wanted])
            data, self._wanted = data[self._wanted :], 0
            if not data:
                break
        self._waiting = data

    def _handle(self, line: bytes, body: bytes) -> None:
        if not line.startswith(b"POST"):
            said = msgspec.json.encode(_hits) if b"/stats" in line else b"{}"
            self._out.write(_OK % (len(said), said))
            return
        name = _model(body)
        model = name.decode()
        _hits[model] += 1
        if model.startswith("dead"):
            self._out.write(_DEAD)
        elif not model.startswith("hang"):
            self._answer(name, body)

    def _answer(self, name: bytes, body: bytes) -> None:
        place = body.find(b"[n=")
        number = int(body[place + 3 : place + 13]) if place >= 0 else 0
        if b'"stream":true' in body or b'"stream": true' in body:
            task = asyncio.get_running_loop().create_task(self._stream(name.decode(), number, body))
            _streams.add(task)
            task.add_done_callback(_streams.discard)
            return
        said = completion(name, number)
        self._out.write(_OK % (len(said), said))

    async def _stream(self, model: str, number: int, body: bytes) -> None:
        loop = asyncio.get_running_loop()
        events = stream_events(model, number, usage=b"include_usage" in body)
        pauses = pauses_ms(number)
        due = loop.time()
        self._out.write(_STREAM)
        for place, event in enumerate(events):
            if place < len(pauses):
                due += pauses[place] / 1e3
                await asyncio.sleep(due - loop.time())
            if self._out.is_closing():
                return
            self._out.write(b"%x\r\n%b\r\n" % (len(event), event))
        self._out.write(b"0\r\n\r\n")


def _content_length(head: bytes) -> int:
    lower = head.lower()
    place = lower.find(b"\r\ncontent-length:")
    if place < 0:
        return 0
    end = lower.find(b"\r\n", place + 17)
    return int(lower[place + 17 : end if end > 0 else None])


def _model(body: bytes) -> bytes:
    """The value of ``model``; its unescaped key cannot stand inside a JSON string."""
    start = body.find(b'"', body.find(b'"model"') + 7) + 1
    return body[start : body.find(b'"', start)]


async def _serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Mock, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
