"""Whatever the bytes and however they are cut: a sink hears of one end, and of no wrong body."""

from __future__ import annotations

import asyncio
import http.client
import io
import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import BackendError
from inhouse.inference.http.connection import Connection

OK = b"HTTP/1.1 200 OK\r\n"


class Heard:
    """A sink that remembers what it was told."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ends: list[str] = []

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.status, self.headers = status, headers

    def piece(self, data: bytes) -> None:
        self.body += data

    def complete(self) -> None:
        self.ends.append("complete")

    def failed(self, error: BackendError) -> None:
        self.ends.append(error.code)

    @property
    def outcome(self) -> tuple[int, dict[str, str], bytes] | None:
        return (self.status, self.headers, self.body) if self.ends == ["complete"] else None


class Wire(asyncio.Transport):
    """Takes what is written; closes when told."""

    closing = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0


def connect() -> tuple[Connection, Wire]:
    wire = Wire()
    connection = Connection(1_000_000, lambda _: None)
    connection.connection_made(wire)
    return connection, wire


def ask(connection: Connection, wire: Wire, pieces: list[bytes]) -> Heard:
    heard = Heard()
    connection.send(b"GET", heard)
    for piece in pieces:
        if piece and not wire.closing:
            connection.data_received(piece)
    return heard


def exchange(*pieces: bytes) -> Heard:
    connection, wire = connect()
    heard = ask(connection, wire, list(pieces))
    wire.closing = True
    connection.connection_lost(None)
    return heard


TOKENS = st.text("abcdefghijklmnopqrstuvwxyz-", min_size=1, max_size=8).map("x-{}".format)
VALUES = st.text("abc =;,/", max_size=12).map(str.strip)
BODIES = st.one_of(
    st.binary(max_size=60), st.sampled_from([b"", b"0\r\n\r\n", OK, b"\r\n\r\n", b"x" * 3000])
)


@st.composite
def answers(draw: st.DrawFn, *, framed: bool = True) -> tuple[bytes, int, bytes]:
    """A valid answer as bytes, with the status and body in it."""
    status = draw(st.sampled_from([200, 200, 201, 400, 404, 429, 500, 503]))
    body = draw(BODIES)
    lines = [
        f"{name}: {value}\r\n".encode()
        for name, value in draw(st.dictionaries(TOKENS, VALUES, max_size=3)).items()
    ]
    kind = draw(st.sampled_from(["length", "chunks"] if framed else ["length", "chunks", "close"]))
    payload = body
    if kind == "length":
        lines.append(b"Content-Length: %d\r\n" % len(body))
    elif kind == "chunks":
        lines.append(b"transfer-encoding: chunked\r\n")
        payload = in_chunks(body, draw(st.lists(st.integers(1, 40), max_size=6)))
    interim = b"HTTP/1.1 100 Continue\r\n\r\n" * draw(st.integers(0, 2))
    head = b"HTTP/1.1 %d Some Reason\r\n" % status + b"".join(draw(st.permutations(lines)))
    return interim + head + b"\r\n" + payload, status, body


def in_chunks(body: bytes, sizes: list[int]) -> bytes:
    pieces = []
    for size in [*sizes, len(body)]:
        piece, body = body[:size], body[size:]
        if piece:
            pieces.append(b"%X\r\n%b\r\n" % (len(piece), piece))
    return b"".join(pieces) + b"0\r\n\r\n"


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


PLACES = st.lists(st.integers(0, 5000), max_size=8)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(answers(framed=False), PLACES)
def test_fuzz_valid_answers_survive_every_cut(
    answer: tuple[bytes, int, bytes], places: list[int]
) -> None:
    data, status, body = answer
    heard = exchange(*cut(data, places))
    assert heard.ends == ["complete"]
    assert (heard.status, heard.body) == (status, body)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(answers(), min_size=1, max_size=4), PLACES)
def test_fuzz_one_connection_answers_many(
    many: list[tuple[bytes, int, bytes]], places: list[int]
) -> None:
    connection, wire = connect()
    for data, status, body in many:
        heard = ask(connection, wire, cut(data, places))
        assert heard.ends == ["complete"]
        assert (heard.status, heard.body) == (status, body)
        assert connection.reusable


@settings(max_examples=300, deadline=None, derandomize=True)
@given(answers(), st.integers(0, 5000), PLACES)
def test_fuzz_a_shortened_answer_is_never_complete(
    answer: tuple[bytes, int, bytes], keep: int, places: list[int]
) -> None:
    data = answer[0][: keep % len(answer[0])]
    assert exchange(*cut(data, places)).ends == ["upstream-closed"]


MUTATIONS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "drop", "insert", "swap"]),
        st.integers(0, 5000),
        st.sampled_from(
            [b"\r", b"\n", b"\r\n", b" ", b":", b"0", b"f", b"\x00", b"\xff", b";", b"1"]
        ),
    ),
    min_size=1,
    max_size=4,
)


def mutate(data: bytes, mutations: list[tuple[str, int, bytes]]) -> bytes:
    for kind, place, filler in mutations:
        at = place % (len(data) + 1)
        if kind == "flip":
            data = data[:at] + filler[:1] + data[at + 1 :]
        elif kind == "drop":
            data = data[:at] + data[at + 1 :]
        elif kind == "insert":
            data = data[:at] + filler + data[at:]
        else:
            data = data[:at] + data[at + 1 : at + 2] + data[at : at + 1] + data[at + 2 :]
    return data


class Canned:
    """What http.client wants of a socket."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def makefile(self, *_: object) -> io.BytesIO:
        return io.BytesIO(self.data)


def by_the_standard_library(data: bytes) -> tuple[int, bytes] | None:
    """The same answer as another implementation reads it; None where it cannot."""
    response = http.client.HTTPResponse(Canned(data), method="POST")  # type: ignore[arg-type]
    try:
        response.begin()
        return response.status, response.read()
    except (http.client.HTTPException, ValueError):
        return None


@settings(max_examples=600, deadline=None, derandomize=True)
@given(answers(framed=False), MUTATIONS, PLACES)
def test_fuzz_a_damaged_answer_has_one_end_and_no_wrong_body(
    answer: tuple[bytes, int, bytes], mutations: list[tuple[str, int, bytes]], places: list[int]
) -> None:
    data = mutate(answer[0], mutations)
    cut_up, whole = exchange(*cut(data, places)), exchange(data)
    assert len(cut_up.ends) == 1
    assert cut_up.outcome == whole.outcome
    theirs = by_the_standard_library(data)
    if cut_up.outcome is not None and theirs is not None and theirs[0] == cut_up.status:
        assert cut_up.body == theirs[1]
