"""The protocol without a socket: framing, interim answers, limits. Fuzzed in test_http_fuzz."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from inhouse.core.errors import BackendError
from inhouse.inference.http.connection import MAX_HEAD_BYTES, Connection

OK = b"HTTP/1.1 200 OK\r\n"
LIMIT = 1_000_000


class Wire(asyncio.Transport):
    """Holds what was written; closes when told."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.unsent = 0
        self.closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return self.unsent


@dataclass
class Heard:
    """A sink that remembers what it was told."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    ends: list[str] = field(default_factory=list)

    def head(self, status: int, headers: dict[str, str]) -> None:
        assert not self.status, "two heads"
        self.status, self.headers = status, headers

    def piece(self, data: bytes) -> None:
        assert not self.ends, "a piece after the end"
        self.body += data

    def complete(self) -> None:
        self.ends.append("complete")

    def failed(self, error: BackendError) -> None:
        self.ends.append(error.code)

    @property
    def outcome(self) -> tuple[int, dict[str, str], bytes] | None:
        return (self.status, self.headers, self.body) if self.ends == ["complete"] else None


@dataclass
class Line:
    """A connection on a wire."""

    limit: int = LIMIT
    lost: list[Connection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wire = Wire()
        self.connection = Connection(self.limit, self.lost.append)
        self.connection.connection_made(self.wire)

    def ask(self) -> Heard:
        heard = Heard()
        self.connection.send(b"GET", heard)
        return heard

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if piece and not self.wire.closing:
                self.connection.data_received(piece)

    def end(self, error: Exception | None = None) -> None:
        self.wire.closing = True
        self.connection.connection_lost(error)


def exchange(*pieces: bytes, error: Exception | None = None) -> Heard:
    line = Line()
    heard = line.ask()
    line.feed(*pieces)
    line.end(error)
    return heard


def test_reads_a_body_by_its_length_and_stays_usable() -> None:
    line = Line()
    heard = line.ask()
    line.feed(OK + b"X-One: 1\r\nx-one: 2\r\nx-none:\r\ncontent-length: 4\r\n\r\nab", b"cd")
    assert heard.outcome == (
        200,
        {"x-one": "1, 2", "x-none": "", "content-length": "4"},
        b"abcd",
    )
    assert line.connection.reusable
    assert line.connection.answered == 1
    again = line.ask()
    line.feed(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
    assert again.outcome == (503, {"content-length": "0"}, b"")
    assert line.connection.reusable


def test_reads_chunks_with_extensions_and_drops_trailers() -> None:
    line = Line()
    heard = line.ask()
    line.feed(
        OK + b"transfer-encoding: Chunked\r\n\r\n3;a=b\r\nabc\r\n1\r\nd\r\n0\r\nx-late: 1\r\n\r\n"
    )
    assert heard.outcome == (200, {"transfer-encoding": "Chunked"}, b"abcd")
    assert line.connection.reusable


def test_a_body_without_framing_ends_with_the_connection() -> None:
    line = Line()
    heard = line.ask()
    line.feed(OK + b"\r\nab", b"cd")
    assert heard.ends == []
    line.end()
    assert heard.outcome == (200, {}, b"abcd")
    assert not line.connection.reusable
    assert line.lost == [line.connection]


def test_a_reset_is_no_end_of_a_body() -> None:
    assert exchange(OK + b"\r\nabcd", error=ConnectionResetError()).ends == ["upstream-closed"]


@pytest.mark.parametrize("code", [204, 304])
def test_statuses_without_a_body_end_at_once(code: int) -> None:
    line = Line()
    heard = line.ask()
    line.feed(b"HTTP/1.1 %d x\r\n\r\n" % code)
    assert heard.outcome == (code, {}, b"")
    assert line.connection.reusable


def test_interim_answers_are_skipped() -> None:
    early = b"HTTP/1.1 103 Early\r\nlink: x\r\ncontent-length: 9\r\n\r\n"
    line = Line()
    heard = line.ask()
    line.feed(b"HTTP/1.1 100 Continue\r\n\r\n" + early, OK + b"content-length: 2\r\n\r\nhi")
    assert heard.outcome == (200, {"content-length": "2"}, b"hi")
    assert line.connection.reusable


def test_interim_answers_without_end_are_too_large() -> None:
    one = b"HTTP/1.1 102 Processing\r\n\r\n"
    assert exchange(*[one * 100] * (MAX_HEAD_BYTES // len(one) // 100 + 2)).ends == [
        "upstream-too-large"
    ]


@pytest.mark.parametrize(
    "data",
    [
        b"220 mail.example ESMTP\r\n",
        b"\x16\x03\x01\x02\x00",
        b"HTTP/1.1 20x OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 999 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\nhi",
        OK + b"content-length: two\r\n\r\nhi",
        OK + b"content-length: -2\r\n\r\nhi",
        OK + b"content-length: 2\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"transfer-encoding: gzip\r\n\r\nhi",
        OK + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nzz\r\nhi\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n2\r\nhi!\r\n0\r\n\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        OK + b"bad header\r\n\r\n",
    ],
)
def test_what_is_not_http_is_garbage(data: bytes) -> None:
    line = Line()
    heard = line.ask()
    line.feed(data)
    assert heard.ends == ["upstream-garbage"]
    assert line.wire.closing


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 2",
        OK + b"content-le",
        OK + b"content-length: 4\r\n\r\nabc",
        OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n",
        OK + b"transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_an_early_end_is_an_error(data: bytes) -> None:
    assert exchange(data).ends == ["upstream-closed"]


def test_a_large_body_fails_before_it_is_kept() -> None:
    line = Line(limit=1000)
    heard = line.ask()
    line.feed(OK + b"content-length: 5000\r\n\r\n", b"x" * 500, b"x" * 500)
    assert heard.ends == ["upstream-too-large"]
    assert len(heard.body) <= 1000
    assert line.wire.closing


def test_a_large_head_fails() -> None:
    assert exchange(OK, b"x-a: " + b"a" * MAX_HEAD_BYTES).ends == ["upstream-too-large"]


@pytest.mark.parametrize("extra", [b"X", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nZ"])
def test_bytes_after_the_answer_make_it_unusable(extra: bytes) -> None:
    line = Line()
    heard = line.ask()
    line.feed(OK + b"content-length: 2\r\n\r\nhi" + extra)
    assert heard.outcome == (200, {"content-length": "2"}, b"hi")
    assert not line.connection.reusable


def test_bytes_that_nobody_asked_for_close_it() -> None:
    line = Line()
    line.feed(OK)
    assert line.wire.closing


@pytest.mark.parametrize("head", [b"connection: close\r\n", b"x: 1\r\nConnection: Close, x\r\n"])
def test_a_server_that_closes_is_believed(head: bytes) -> None:
    line = Line()
    heard = line.ask()
    line.feed(OK + head + b"content-length: 2\r\n\r\nhi")
    assert heard.ends == ["complete"]
    assert not line.connection.reusable


def test_a_request_that_is_still_being_sent_keeps_it_from_reuse() -> None:
    line = Line()
    line.ask()
    line.wire.unsent = 10
    line.feed(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")
    assert not line.connection.reusable


def test_stale_means_answered_before_and_closed_without_a_byte() -> None:
    line = Line()
    line.ask()
    assert not line.connection.stale
    line.feed(OK + b"content-length: 0\r\n\r\n")
    heard = line.ask()
    line.end()
    assert heard.ends == ["upstream-closed"]
    assert line.connection.stale


def test_closed_after_a_byte_is_not_stale() -> None:
    line = Line()
    line.ask()
    line.feed(OK + b"content-length: 0\r\n\r\n")
    line.ask()
    line.feed(b"H")
    line.end()
    assert not line.connection.stale


def test_an_aborted_answer_is_heard_of_no_more() -> None:
    line = Line()
    heard = line.ask()
    line.feed(OK + b"content-length: 2\r\n\r\nh")
    line.connection.abort()
    line.end()
    assert heard.ends == []
    assert line.lost == [line.connection]
