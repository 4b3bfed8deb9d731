"""One HTTP/1.1 connection: a request goes out, one answer comes back, piece by piece.

The framing is httptools' (llhttp, strict). What it does not know is added here: interim answers
(1xx) are skipped, a body without length or chunks ends with the connection, bytes that nobody asked
for make the connection unusable, and an answer may not grow without bound.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

import httptools
import msgspec
from typing_extensions import override

from inhouse.core.errors import BackendError

MAX_HEAD_BYTES = 64 * 1024
_BODILESS = (204, 304)


class HttpResponse(msgspec.Struct, frozen=True):
    """A whole answer. Header names are lower-case; repeated ones are joined with ``", "``."""

    status: int
    headers: dict[str, str]
    body: bytes


class Sink(Protocol):
    """Where an answer goes: ``head`` once, ``piece`` any number of times, then ``complete``; or
    ``failed`` at any point. Called from the loop; may not raise."""

    def head(self, status: int, headers: dict[str, str]) -> None: ...

    def piece(self, data: bytes) -> None: ...

    def complete(self) -> None: ...

    def failed(self, error: BackendError) -> None: ...


class Whole:
    """The sink that waits for everything: ``answer`` resolves to an HttpResponse."""

    __slots__ = ("_body", "_headers", "_status", "answer")

    def __init__(self, answer: asyncio.Future[HttpResponse]) -> None:
        self.answer = answer
        self._body = bytearray()

    def head(self, status: int, headers: dict[str, str]) -> None:
        self._status = status
        self._headers = headers

    def piece(self, data: bytes) -> None:
        self._body += data

    def complete(self) -> None:
        if not self.answer.done():
            self.answer.set_result(HttpResponse(self._status, self._headers, bytes(self._body)))

    def failed(self, error: BackendError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)


class Connection(asyncio.Protocol):
    """One socket. ``send`` may be called when ``reusable``; its sink hears of the end, always.

    ``max_bytes`` bounds what is read for one answer, head and framing included. ``on_lost`` is told
    once that the socket is gone. ``answered`` counts the complete answers.
    """

    def __init__(self, max_bytes: int, on_lost: Callable[[Connection], None]) -> None:
        self._max_bytes = max_bytes
        self._on_lost = on_lost
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport
        self._sink: Sink | None = None
        self._headers: dict[str, str] = {}
        self._received = 0
        self._head_done = False
        self._until_close = False
        self._keep = True
        self.answered = 0
        self.idle_since = 0.0

    @property
    def reusable(self) -> bool:
        """The last answer is complete, nothing of it or of its request is under way, and both
        sides keep the connection."""
        return (
            self._keep
            and self._sink is None
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )

    @property
    def stale(self) -> bool:
        """It had answered before, and was closed before a byte of this answer: the server had
        given it up when the request was sent, so another connection may be tried."""
        return self.answered > 0 and not self._received and self._transport.is_closing()

    def send(self, request: bytes, sink: Sink) -> None:
        """Write a whole request; ``sink`` gets the answer."""
        self._sink = sink
        self._received = 0
        self._head_done = False
        self._until_close = False
        if self._transport.is_closing():
            self._fail("upstream-closed", "the upstream closed the connection")
        else:
            self._transport.write(request)

    def pause(self) -> None:
        """Read no further until ``resume``, so that the upstream has to wait."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once, without a word to the sink."""
        self._sink = None
        self._keep = False
        self._transport.abort()

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self._sink is None or self._parser is None:
            self.abort()
            return
        self._received += len(data)
        if self._received > self._max_bytes:
            self._fail("upstream-too-large", f"the answer is over {self._max_bytes} bytes")
            return
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            reason = error.__context__ or error
            self._fail("upstream-garbage", f"the upstream does not speak HTTP/1.1: {reason}")
            return
        if not self._head_done and self._received > MAX_HEAD_BYTES:
            self._fail("upstream-too-large", f"the answer's head is over {MAX_HEAD_BYTES} bytes")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._parser = None
        if self._until_close and self._sink is not None and exc is None:
            self._finish()
        else:
            self._fail("upstream-closed", "the upstream closed the connection before the end")
        self._on_lost(self)

    def _fail(self, code: str, message: str) -> None:
        sink, self._sink = self._sink, None
        self._keep = False
        self._transport.abort()
        if sink is not None:
            sink.failed(BackendError(message, code=code))

    # What httptools calls, in the order of the bytes.

    def on_message_begin(self) -> None:
        self._headers = {}
        if self._sink is None:
            self._keep = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._head_done:
            return  # a trailer
        key = name.decode("latin-1").lower()
        text = value.decode("latin-1")
        known = self._headers.get(key)
        self._headers[key] = text if known is None else f"{known}, {text}"

    def on_headers_complete(self) -> None:
        if self._sink is None or self._parser is None:
            return
        status: int = self._parser.get_status_code()
        if status == 101 or not 100 <= status <= 599:
            raise ValueError(f"status {status}")
        if status >= 200:
            self._keep = self._parser.should_keep_alive()
            self._until_close = self._ends_with_connection(status)
            self._head_done = True
            self._sink.head(status, self._headers)

    def _ends_with_connection(self, status: int) -> bool:
        coding = self._headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise ValueError(f"transfer-encoding {coding[:40]!r}")
        return coding is None and "content-length" not in self._headers and status not in _BODILESS

    def on_body(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.piece(data)

    def on_message_complete(self) -> None:
        if self._head_done and self._sink is not None:
            self._finish()

    def _finish(self) -> None:
        sink, self._sink = self._sink, None
        self.answered += 1
        if sink is not None:
            sink.complete()
