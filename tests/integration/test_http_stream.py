"""Streams of the pool against a real server: reuse, back-pressure, second tries, early ends."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from inhouse.core.errors import BackendError
from inhouse.inference.http.pool import HttpPool
from inhouse.inference.http.stream import WAITING_BYTES, HttpStream
from inhouse.testing.upstream_behaviours import (
    bad_chunks,
    close_before_head,
    garbage,
    hang,
    huge,
    in_turn,
    interim,
    raw,
    reset,
    status,
    until_close,
)
from inhouse.testing.upstream_exchange import Exchange, head
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import cut, raw_stream, stream, stream_hang, told

Run = Callable[[Coroutine[Any, Any, Any]], Any]
CHUNKED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({"m": "yes"}) as server:
        yield server


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    start = {"asyncio": asyncio.run, "uvloop": uvloop.run}[request.param]
    return lambda work: start(asyncio.wait_for(work, 60))


def open_stream(pool: HttpPool, model: str = "m") -> Coroutine[Any, Any, HttpStream]:
    body = json.dumps({"model": model, "messages": [], "stream": True}).encode()
    return pool.stream("POST", "/chat/completions", {"accept": "text/event-stream"}, body)


async def listen(pool: HttpPool, model: str = "m") -> bytes:
    answer = await open_stream(pool, model)
    try:
        return b"".join([piece async for piece in answer])
    finally:
        answer.close()


async def settle(upstream: ScriptedUpstream, condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(upstream.wait_until, condition)


def test_streams_one_after_another_share_a_connection(upstream, run) -> None:
    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        parts = told(["yes"], model="m")
        for _ in range(5):
            answer = await open_stream(pool)
            assert answer.status == 200
            assert answer.headers["content-type"] == "text/event-stream"
            body = b"".join([piece async for piece in answer])
            assert body == b"".join((parts.opening, *parts.tokens, parts.ending, parts.done))
        await pool.close()

    run(main())
    assert upstream.connections == 1
    upstream.wait_until(lambda: upstream.open_connections == 0)


def test_the_head_comes_before_the_body(upstream, run) -> None:
    upstream.script = {"m": stream_hang("a b c", after=0)}

    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        answer = await open_stream(pool)
        assert b"assistant" in await anext(answer)
        waiting = asyncio.ensure_future(anext(answer))
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.wait([waiting])
        await settle(upstream, lambda: upstream.open_connections == 0)

    run(main())


def test_a_slow_reader_makes_the_upstream_wait(upstream, run) -> None:
    """40 MB are on their way, and what the reader does not take stays with the upstream."""
    piece, count = b"x" * 65536, 640
    sent = 0

    async def flood(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.send(head(200, len(piece) * count, {"content-type": "text/plain"}))
        for _ in range(count):
            await exchange.send(piece)
            sent += 1

    upstream.script = {"flood": flood, "m": "yes"}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        answer = await open_stream(pool, "flood")
        async with asyncio.timeout(30):
            while not answer._paused:
                await asyncio.sleep(0)
        waiting = len(await anext(answer))
        assert WAITING_BYTES < waiting < 2_000_000
        async with asyncio.timeout(30):
            while not answer._paused:
                await asyncio.sleep(0)
        assert sent < count, "the upstream could send everything"
        rest = sum([len(piece) async for piece in answer])
        assert waiting + rest == len(piece) * count
        assert await listen(pool)
        assert upstream.connections == 1

    run(main())


@pytest.mark.parametrize("last", [close_before_head(), reset()])
def test_a_connection_given_up_by_the_server_costs_one_more_try(upstream, run, last) -> None:
    upstream.script = {"m": in_turn(stream("one"), last, stream("three"))}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        assert b"one" in await listen(pool)
        assert b"three" in await listen(pool)

    run(main())
    assert (upstream.hits["m"], upstream.connections) == (3, 2)


def test_the_second_try_is_the_last_and_a_fresh_connection_gets_none(upstream, run) -> None:
    upstream.script = {"m": in_turn(stream("one"), close_before_head())}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        await listen(pool)
        for hits in (3, 4):
            with pytest.raises(BackendError) as caught:
                await listen(pool)
            assert caught.value.code == "upstream-closed"
            assert upstream.hits["m"] == hits

    run(main())


def test_an_upstream_that_is_gone_between_two_tries_frees_the_place(upstream, run) -> None:
    """The second try cannot connect: the error says so, and the next call has a place."""
    upstream.script = {"m": in_turn(stream("one"), hang(), stream("three"))}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        await listen(pool)
        second = asyncio.ensure_future(listen(pool))
        await settle(upstream, lambda: upstream.hits["m"] == 2)
        await asyncio.to_thread(upstream.stop)
        with pytest.raises(BackendError) as caught:
            await second
        assert caught.value.code == "upstream-connect"
        await asyncio.to_thread(upstream.start)
        assert b"three" in await listen(pool)

    run(main())


@pytest.mark.parametrize(
    ("behaviour", "status", "body"),
    [
        (status(500, "broken"), 500, b"broken"),
        (interim("yes"), 200, b"yes"),
        (until_close("bye"), 200, b"bye"),
        (raw(b"HTTP/1.1 204 None\r\n\r\n", close=False), 204, b""),
    ],
)
def test_any_framing_and_any_status(upstream, run, behaviour, status, body) -> None:
    upstream.script = {"m": behaviour}

    async def main() -> None:
        answer = await open_stream(HttpPool(upstream.base_url))
        assert answer.status == status
        assert body in await answer.read(10_000)
        answer.close()

    run(main())


def test_a_hundred_megabytes_arrive_and_more_are_refused(upstream, run) -> None:
    upstream.script = {"fits": huge(99_900_000), "over": huge(100_100_000), "m": "yes"}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        answer = await open_stream(pool, "fits")
        assert sum([len(piece) async for piece in answer]) > 99_900_000
        with pytest.raises(BackendError) as caught:
            await listen(pool, "over")
        assert caught.value.code == "upstream-too-large"
        assert await listen(pool)

    run(main())


@pytest.mark.parametrize("behaviour", [garbage(), bad_chunks()])
def test_what_is_not_http_is_garbage(upstream, run, behaviour) -> None:
    upstream.script = {"m": behaviour}

    async def main() -> None:
        with pytest.raises(BackendError) as caught:
            await listen(HttpPool(upstream.base_url))
        assert caught.value.code == "upstream-garbage"

    run(main())


def test_streams_wait_for_a_connection_and_free_it_whatever_happens(upstream, run) -> None:
    upstream.script = {"m": "yes", "dead": hang(), "half": stream_hang("a b", after=1)}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        holder = asyncio.ensure_future(listen(pool, "dead"))
        await settle(upstream, lambda: upstream.hits["dead"] == 1)
        waiting = asyncio.ensure_future(listen(pool))
        await asyncio.sleep(0)
        holder.cancel()
        assert b"yes" in await waiting
        half = await open_stream(pool, "half")
        waiting = asyncio.ensure_future(listen(pool))
        await anext(half)
        half.close()
        assert b"yes" in await waiting
        for turns in range(30):
            call = asyncio.ensure_future(listen(pool))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert b"yes" in await listen(pool)
        (shelf,) = pool._shelves.values()
        assert (shelf._open, len(shelf._idle), len(shelf._waiting)) == (1, 1, 0)
        await pool.close()
        await settle(upstream, lambda: upstream.open_connections == 0)

    run(main())


def test_keep_alive_races_lose_no_stream(upstream, run) -> None:
    """Every answer is followed by a close, and calls come while the closes are under way."""

    async def answer_and_close(exchange: Exchange) -> None:
        await stream("yes")(exchange)
        exchange.close()

    upstream.script = {"m": answer_and_close, "n": stream("no")}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=8)

        async def caller(model: str, text: bytes) -> None:
            for _ in range(40):
                assert text in await listen(pool, model)

        await asyncio.gather(*(caller("m", b"yes") for _ in range(6)), caller("n", b"no"))

    run(main())


def test_fuzz_pieces_are_the_body_however_it_is_cut(upstream, run) -> None:
    rng = random.Random(21)
    whole = told(["a", "b" * 3000, "c"]).whole

    def choose(_: object) -> Any:
        places = [rng.randrange(len(whole)) for _ in range(rng.randint(1, 9))]
        return raw_stream(whole, split_at=places, close=rng.random() < 0.3)

    upstream.script = choose

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=4)

        async def caller() -> None:
            for _ in range(15):
                assert await listen(pool) == whole

        await asyncio.gather(*(caller() for _ in range(6)))

    run(main())


def test_fuzz_damage_on_the_wire_is_an_error_or_an_answer_and_harms_no_other(upstream, run) -> None:
    rng = random.Random(22)
    answer = head(200, None, CHUNKED) + b"3\r\none\r\n10\r\n0123456789abcdef\r\n0\r\n\r\n"

    def choose(request: Any) -> Any:
        if request.model == "fine":
            return stream("fine")
        data = bytearray(answer)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(data))
            data[at : at + 1] = rng.choice((b"", b"\r", b"\n", b"0", b"f", b"\x00", b":", b"zz"))
        return raw(*cut(bytes(data), [rng.randrange(len(data)) for _ in range(3)]))

    upstream.script = choose

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=3)
        outcomes = set()

        async def caller() -> None:
            for _ in range(20):
                try:
                    await asyncio.wait_for(listen(pool, "damaged"), 20)
                    outcomes.add("complete")
                except BackendError as error:
                    outcomes.add(error.code)
                assert b"fine" in await listen(pool, "fine")

        await asyncio.gather(*(caller() for _ in range(6)))
        assert {"complete", "upstream-garbage"} <= outcomes
        (shelf,) = pool._shelves.values()
        assert shelf._open == len(shelf._idle)

    run(main())
