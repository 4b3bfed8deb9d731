"""uvicorn's protocol with what the hot routes need beside ASGI."""

from __future__ import annotations

import re
from typing import Any, Final

from typing_extensions import override
from uvicorn._types import ASGISendEvent
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from inhouse.api.hangup import HANG_UP
from inhouse.api.respond import WRITER, Response

LONGEST_HEAD: Final = 128 * 1024
_UPGRADE: Final = re.compile(rb"(?<=\r\n)upgrade:[^\r\n]*\r\n", re.IGNORECASE)


class Protocol(HttpToolsProtocol):
    """One connection.

    It tells a call at once that its caller is gone, so that nothing has to watch the connection;
    it writes answers past ASGI, a whole one at once, because every write is a system call; and it
    bounds the head of a request. Nothing is spoken here but HTTP/1.1 and 1.0, so offers to change
    to another protocol are passed over, as RFC 9110 allows: the parser would drop the body behind
    one.
    """

    _head_size: int | None = 0
    _in_body = False

    @override
    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            data = _without_upgrade(data)
        super().data_received(data)
        if self._head_size is not None:
            self._head_size += len(data)
            if self._head_size > LONGEST_HEAD:
                self.send_400_response(f"the head is over {LONGEST_HEAD // 1024} KiB")

    @override
    def on_message_begin(self) -> None:
        self._head_size = 0
        super().on_message_begin()

    @override
    def on_headers_complete(self) -> None:
        self._head_size = None
        self._in_body = True
        super().on_headers_complete()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.scope is self.scope:
            scope: dict[str, Any] = self.scope  # type: ignore[assignment]
            scope[WRITER] = DirectWriter(cycle)
            if scope["http_version"] == "1.0":
                cycle.send = UntilClosed(cycle).send  # type: ignore[method-assign]

    @override
    def on_message_complete(self) -> None:
        self._in_body = False
        super().on_message_complete()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            hang_up = cycle.scope.get(HANG_UP)
            if callable(hang_up):
                hang_up()


def _without_upgrade(data: bytes) -> bytes:
    """A request's beginning without its header ``Upgrade``."""
    end = data.find(b"\r\n\r\n") + 2
    head = data[:end] if end > 1 else data
    if b"pgrade" not in head and b"PGRADE" not in head:
        return data
    return _UPGRADE.sub(b"", head) + data[len(head) :]


class UntilClosed:
    """Sends an answer to a caller of HTTP/1.0, who knows no chunks: where its length is not known
    before, it ends with the connection, which is never kept for such callers."""

    __slots__ = ("_cycle", "_is_open_ended", "_send")

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._send = cycle.send
        self._is_open_ended = False

    async def send(self, message: ASGISendEvent) -> None:
        if message["type"] == "http.response.start":
            names = {name.lower() for name, _ in message.get("headers", ())}
            self._is_open_ended = b"content-length" not in names
            if self._is_open_ended:
                self._cycle.chunked_encoding = False
        elif message["type"] == "http.response.body" and self._is_open_ended:
            self._cycle.expected_content_length = len(message.get("body", b""))
        await self._send(message)


class DirectWriter:
    """Writes the answer to one request into its connection."""

    __slots__ = ("_cycle",)

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle

    def piece(self, data: bytes) -> bool:
        cycle = self._cycle
        if not cycle.chunked_encoding or cycle.disconnected or cycle.flow.write_paused:
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(data), data))
        return True

    def whole(self, answer: Response) -> bool:
        cycle = self._cycle
        if cycle.response_started or cycle.disconnected or cycle.flow.write_paused:
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        parts = [STATUS_LINE[answer.status]]
        for name, value in (*cycle.default_headers, *answer.headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"\r\n" if cycle.keep_alive else b"connection: close\r\n\r\n")
        if cycle.scope["method"] != "HEAD":
            parts.append(answer.body)
        cycle.transport.write(b"".join(parts))
        cycle.message_event.set()
        if not cycle.keep_alive:
            cycle.transport.close()
        cycle.on_response()
        return True
