"""An answer under way without a socket: pieces, back-pressure, and what becomes of its connection.

Fuzzed with the connection's own strategies.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from inhouse.core.errors import BackendError
from inhouse.inference.http.connection import Connection
from inhouse.inference.http.stream import WAITING_BYTES, HttpStream
from inhouse.testing.upstream_streams import cut

T = TypeVar("T")
CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


class Wire(asyncio.Transport):
    """Counts how often reading was stopped and taken up again."""

    def __init__(self) -> None:
        super().__init__()
        self.closing = False
        self.reading = True

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closing

    def abort(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Line:
    """One connection, and the stream of one answer on it."""

    def __init__(self, limit: int = 10_000_000) -> None:
        self.wire = Wire()
        self.connection = Connection(limit, lambda _: None)
        self.connection.connection_made(self.wire)
        self.back: list[bool] = []
        self.answer = HttpStream(asyncio.get_running_loop(), self.connection, self.given_back)

    def given_back(self, connection: Connection) -> None:
        assert connection is self.connection
        self.back.append(connection.reusable)

    async def begin(self, *pieces: bytes) -> None:
        begun = asyncio.ensure_future(self.answer.begin(b"GET"))
        await asyncio.sleep(0)
        self.feed(*pieces)
        await begun

    def feed(self, *pieces: bytes) -> None:
        for piece in pieces:
            if piece and not self.wire.closing:
                self.connection.data_received(piece)

    def end(self, error: Exception | None = None) -> None:
        self.wire.closing = True
        self.connection.connection_lost(error)


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def inside() -> T:
        return await asyncio.wait_for(work(), 10)

    return asyncio.run(inside())


def framed(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


def test_pieces_come_as_they_arrive_and_the_connection_goes_back() -> None:
    async def main() -> None:
        line = Line()
        await line.begin(CHUNKED)
        assert line.answer.status == 200
        assert line.answer.headers == {"transfer-encoding": "chunked"}
        waiting = asyncio.ensure_future(anext(line.answer))
        await asyncio.sleep(0)
        line.feed(framed(b"one"))
        assert await waiting == b"one"
        line.feed(framed(b"two", b"three"), framed(b"four") + END)
        assert line.answer.ended
        assert line.back == []
        assert await anext(line.answer) == b"twothreefour"
        await asyncio.sleep(0)
        assert line.back == [True]
        assert [piece async for piece in line.answer] == []
        line.answer.close()
        assert line.back == [True]
        assert not line.wire.closing

    run(main)


@pytest.mark.parametrize("extra", [b"X", b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nZ"])
def test_bytes_after_the_end_make_the_connection_useless(extra: bytes) -> None:
    async def main() -> None:
        line = Line()
        await line.begin(CHUNKED + framed(b"all") + END + extra)
        assert [piece async for piece in line.answer] == [b"all"]
        await asyncio.sleep(0)
        assert line.back == [False]

    run(main)


def test_reading_stops_while_much_waits() -> None:
    async def main() -> None:
        line = Line()
        await line.begin(CHUNKED)
        line.feed(framed(b"x" * WAITING_BYTES))
        assert line.wire.reading
        line.feed(framed(b"y"))
        assert not line.wire.reading
        line.feed(framed(b"z"))
        assert len(await anext(line.answer)) == WAITING_BYTES + 2
        assert line.wire.reading
        line.feed(framed(b"x" * WAITING_BYTES, b"y") + END)
        assert line.wire.reading, "what goes back to the pool can be read"
        await asyncio.sleep(0)
        assert line.back == [True]
        assert len(await anext(line.answer)) == WAITING_BYTES + 1
        assert line.wire.reading

    run(main)


def test_what_came_before_a_failure_is_given_first() -> None:
    async def main() -> None:
        line = Line()
        await line.begin(CHUNKED, framed(b"one"))
        line.end(ConnectionResetError())
        assert await anext(line.answer) == b"one"
        for _ in range(2):
            with pytest.raises(BackendError) as caught:
                await anext(line.answer)
            assert caught.value.code == "upstream-closed"
        assert line.back == [False]

    run(main)


def test_a_body_is_bounded() -> None:
    async def main() -> None:
        line = Line(limit=1000)
        await line.begin(CHUNKED, framed(b"x" * 500))
        line.feed(framed(b"x" * 500))
        assert line.wire.closing
        assert await anext(line.answer) == b"x" * 500
        with pytest.raises(BackendError) as caught:
            await anext(line.answer)
        assert caught.value.code == "upstream-too-large"

    run(main)


def test_closing_early_closes_the_connection_and_ends_the_iteration() -> None:
    async def main() -> None:
        line = Line()
        await line.begin(CHUNKED, framed(b"one", b"two"))
        line.answer.close()
        line.answer.close()
        assert line.wire.closing
        assert line.back == [False]
        with pytest.raises(BackendError):
            await anext(line.answer)

    run(main)


def test_cancelling_a_wait_closes_the_connection() -> None:
    async def main() -> None:
        line = Line()
        await line.begin(CHUNKED)
        waiting = asyncio.ensure_future(anext(line.answer))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
        assert waiting.cancelled()
        assert line.wire.closing
        assert line.back == [False]

    run(main)


def test_a_limited_read_takes_no_more() -> None:
    async def main() -> None:
        line = Line()
        await line.begin(CHUNKED, framed(b"0123456789"))
        assert await line.answer.read(4) == b"0123"
        assert line.wire.closing
        other = Line()
        await other.begin(CHUNKED, framed(b"0123") + END)
        assert await other.answer.read(4) == b"0123"
        await asyncio.sleep(0)
        assert other.back == [True]

    run(main)


async def listen(pieces: list[bytes]) -> tuple[bytes, str, list[bool]]:
    """What a stream gives for these bytes, how it ends, and whether its connection can be used."""
    line = Line(limit=100_000)
    begun = asyncio.ensure_future(line.answer.begin(b"GET"))
    await asyncio.sleep(0)
    body, feeding = bytearray(), iter(pieces)

    async def feed() -> None:
        for piece in feeding:
            line.feed(piece)
            await asyncio.sleep(0)
        line.end()

    feeder = asyncio.ensure_future(feed())
    try:
        answer = await begun
        async for piece in answer:
            body += piece
        outcome = "complete"
    except BackendError as error:
        outcome = error.code
        line.answer.close()
    await feeder
    await asyncio.sleep(0)
    return bytes(body), outcome, line.back


def test_fuzz_every_cut_gives_the_same_body() -> None:
    async def main() -> None:
        rng = random.Random(11)
        for _ in range(150):
            parts = [rng.randbytes(rng.randint(1, 60)) for _ in range(rng.randint(1, 6))]
            data = CHUNKED + framed(*parts) + END
            places = [rng.randrange(len(data)) for _ in range(rng.randint(0, 8))]
            body, outcome, back = await listen(cut(data, places))
            assert (body, outcome) == (b"".join(parts), "complete")
            assert len(back) == 1

    run(main)


def test_fuzz_damage_has_one_end_and_gives_the_place_back() -> None:
    async def main() -> None:
        rng = random.Random(12)
        whole = CHUNKED + framed(b"one", b"twenty-two", b"three") + END
        outcomes = set()
        for _ in range(300):
            data = bytearray(whole)
            for _ in range(rng.randint(1, 3)):
                at = rng.randrange(len(data))
                data[at : at + 1] = rng.choice(
                    (b"", b"\r", b"\n", b"0", b"f", b"\x00", b";", b"zz")
                )
            if rng.random() < 0.2:
                del data[rng.randrange(1, len(data)) :]
            places = [rng.randrange(len(data)) for _ in range(4)]
            cut_up, at_once = await listen(cut(bytes(data), places)), await listen([bytes(data)])
            assert cut_up[0] == at_once[0] or cut_up[1] != "complete"
            assert cut_up[1] == at_once[1]
            assert len(cut_up[2]) == 1
            outcomes.add(cut_up[1])
        assert outcomes == {"complete", "upstream-closed", "upstream-garbage"}

    run(main)
