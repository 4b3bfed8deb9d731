"""The pool against a real server: reuse, expiry, second tries, cancellation, loops, TLS."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import uvloop

from inhouse.core.errors import BackendError
from inhouse.inference.http.connection import HttpResponse
from inhouse.inference.http.pool import HttpPool
from inhouse.testing.upstream_behaviours import (
    answer,
    answer_then_close,
    close_before_head,
    hang,
    huge,
    in_turn,
    reset,
    slowly,
    until_close,
)
from inhouse.testing.upstream_exchange import Behaviour, Exchange
from inhouse.testing.upstream_server import ScriptedUpstream


class Peers:
    """Answers, and remembers which connections the requests came by."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.ports: list[int] = []

    async def __call__(self, exchange: Exchange) -> None:
        self.ports.append(exchange.peer)
        await self.behaviour(exchange)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({"m": "yes"}) as server:
        yield server


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return {"asyncio": asyncio.run, "uvloop": uvloop.run}[request.param]


def ask(pool: HttpPool, model: str = "m") -> Coroutine[Any, Any, HttpResponse]:
    body = json.dumps({"model": model, "messages": []}).encode()
    headers = {"content-type": "application/json"}
    return pool.request("POST", "/chat/completions", headers, body)


def said(response: HttpResponse) -> str:
    text: str = json.loads(response.body)["choices"][0]["message"]["content"]
    return text


async def settle(upstream: ScriptedUpstream, condition: Callable[[], bool]) -> None:
    await asyncio.to_thread(upstream.wait_until, condition)


def test_calls_one_after_another_share_a_connection(upstream, run) -> None:
    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        for _ in range(5):
            assert said(await ask(pool)) == "yes"
        await pool.close()

    run(main())
    assert upstream.connections == 1
    assert upstream.hits["m"] == 5
    upstream.wait_until(lambda: upstream.open_connections == 0)


def test_the_connection_used_last_is_taken_first(upstream) -> None:
    async def main() -> None:
        peers = Peers(answer("yes"))
        upstream.script = {"m": answer("yes", delay_s=0.02), "n": peers}
        pool = HttpPool(upstream.base_url)
        await asyncio.gather(*(ask(pool) for _ in range(3)))
        for _ in range(4):
            await ask(pool, "n")
        assert len(set(peers.ports)) == 1

    asyncio.run(main())
    assert upstream.connections == 3


def test_an_unused_connection_is_closed_after_a_while(upstream, run) -> None:
    async def main() -> None:
        pool = HttpPool(upstream.base_url, idle_s=0.05)
        await asyncio.gather(*(ask(pool) for _ in range(3)))
        await settle(upstream, lambda: upstream.open_connections == 0)
        assert said(await ask(pool)) == "yes"
        await settle(upstream, lambda: upstream.open_connections == 0)

    run(main())


def test_nagle_is_off(upstream, run) -> None:
    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        await ask(pool)
        (shelf,) = pool._shelves.values()
        raw = shelf._idle[0]._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)

    run(main())


@pytest.mark.parametrize("last", [close_before_head(), reset()])
def test_a_connection_given_up_by_the_server_costs_one_more_try(upstream, run, last) -> None:
    upstream.script = {"m": in_turn("one", last, "three")}

    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        assert said(await ask(pool)) == "one"
        assert said(await ask(pool)) == "three"

    run(main())
    assert upstream.hits["m"] == 3
    assert upstream.connections == 2


def test_the_second_try_is_the_last(upstream, run) -> None:
    upstream.script = {"m": in_turn("one", close_before_head())}

    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        await ask(pool)
        with pytest.raises(BackendError) as caught:
            await ask(pool)
        assert caught.value.code == "upstream-closed"

    run(main())
    assert upstream.hits["m"] == 3


def test_a_fresh_connection_gets_no_second_try(upstream, run) -> None:
    upstream.script = {"m": close_before_head()}

    async def main() -> None:
        with pytest.raises(BackendError) as caught:
            await ask(HttpPool(upstream.base_url))
        assert caught.value.code == "upstream-closed"

    run(main())
    assert upstream.hits["m"] == 1


@pytest.mark.parametrize("said_so", [True, False])
def test_keep_alive_races_lose_no_call(upstream, run, said_so) -> None:
    """Every answer is followed by a close, and calls come while the closes are under way."""
    upstream.script = {"m": answer_then_close("yes", said=said_so), "n": "no"}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=8)

        async def caller(model: str, text: str) -> None:
            for _ in range(60):
                assert said(await ask(pool, model)) == text

        await asyncio.gather(*(caller("m", "yes") for _ in range(6)), caller("n", "no"))

    run(main())


def test_an_answer_that_ends_with_the_connection(upstream, run) -> None:
    upstream.script = {"m": until_close("bye")}

    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        assert [said(await ask(pool)) for _ in range(2)] == ["bye", "bye"]

    run(main())
    assert upstream.connections == 2


def test_cancelling_closes_the_connection_and_the_next_call_is_clean(upstream, run) -> None:
    upstream.script = {"m": "yes", "dead": hang(), "slow": slowly("slow", size=3)}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        await ask(pool)
        call = asyncio.ensure_future(ask(pool, "dead"))
        await settle(upstream, lambda: upstream.hits["dead"] == 1)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await settle(upstream, lambda: upstream.open_connections == 0)
        for turns in range(30):
            call = asyncio.ensure_future(ask(pool, "slow"))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.wait([call])
            assert said(await ask(pool)) == "yes"

    run(main())


def test_more_calls_than_connections_wait_their_turn(upstream, run) -> None:
    upstream.script = {"m": answer("yes", delay_s=0.001)}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=3)
        answers = await asyncio.gather(*(ask(pool) for _ in range(40)))
        assert {said(one) for one in answers} == {"yes"}
        (shelf,) = pool._shelves.values()
        assert (shelf._open, len(shelf._idle), len(shelf._waiting)) == (3, 3, 0)

    run(main())
    assert upstream.connections == 3


def test_a_waiting_call_can_be_cancelled_and_a_failed_one_frees_its_place(upstream, run) -> None:
    upstream.script = {"m": "yes", "dead": hang(), "closed": close_before_head()}

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        holder = asyncio.ensure_future(ask(pool, "dead"))
        await settle(upstream, lambda: upstream.hits["dead"] == 1)
        impatient = [asyncio.ensure_future(ask(pool)) for _ in range(3)]
        failing = asyncio.ensure_future(ask(pool, "closed"))
        patient = asyncio.ensure_future(ask(pool))
        await asyncio.sleep(0)
        for call in impatient:
            call.cancel()
        holder.cancel()
        assert said(await patient) == "yes"
        with pytest.raises(BackendError):
            await failing
        assert upstream.hits["m"] == 1

    run(main())


def test_a_place_handed_to_a_cancelled_call_goes_to_the_next(upstream, run) -> None:
    """The hand-over and the cancellation fall into the same turn of the loop."""

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        await ask(pool)
        (shelf,) = pool._shelves.values()
        connection = await shelf.take()
        first = asyncio.ensure_future(ask(pool))
        second = asyncio.ensure_future(ask(pool))
        await asyncio.sleep(0)
        shelf.put_back(connection)
        first.cancel()
        assert said(await second) == "yes"
        assert first.cancelled()

    run(main())
    assert upstream.connections == 1


def test_a_refused_connection_frees_its_place(upstream, run) -> None:
    upstream.stop()

    async def main() -> None:
        pool = HttpPool(upstream.base_url, max_connections=1)
        for _ in range(3):
            with pytest.raises(BackendError) as caught:
                await ask(pool)
            assert caught.value.code == "upstream-connect"
            assert caught.value.retryable
        upstream.start()
        assert said(await ask(pool)) == "yes"

    run(main())


def test_a_host_without_an_address_is_a_connect_error(run) -> None:
    async def main() -> None:
        with pytest.raises(BackendError) as caught:
            await ask(HttpPool("http://no-such-host.invalid/v1"))
        assert caught.value.code == "upstream-connect"

    run(main())


def test_every_loop_has_its_connections_and_leaves_none(upstream) -> None:
    pool = HttpPool(upstream.base_url)

    async def job() -> None:
        assert said(await ask(pool)) == "yes"
        assert len(pool._shelves) == 2

    async def gateway() -> None:
        assert said(await ask(pool)) == "yes"
        for _ in range(3):
            await asyncio.to_thread(asyncio.run, job())
        assert said(await ask(pool)) == "yes"
        assert len(pool._shelves) == 1
        await settle(upstream, lambda: upstream.open_connections == 1)

    asyncio.run(gateway())
    assert upstream.connections == 4
    assert pool._shelves == {}
    upstream.wait_until(lambda: upstream.open_connections == 0)


def test_a_loop_that_was_closed_roughly_is_forgotten(upstream) -> None:
    pool = HttpPool(upstream.base_url, idle_s=0.0)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(ask(pool))
    loop.run_until_complete(settle(upstream, lambda: upstream.open_connections == 0))
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()

    async def main() -> None:
        await ask(pool)
        assert list(pool._shelves) == [asyncio.get_running_loop()]

    asyncio.run(main())
    asyncio.run(pool.close())


def test_closing_reaches_the_other_loops(upstream) -> None:
    pool = HttpPool(upstream.base_url)

    async def main() -> None:
        await ask(pool)
        await asyncio.to_thread(asyncio.run, close_elsewhere())
        await settle(upstream, lambda: upstream.open_connections == 0)

    async def close_elsewhere() -> None:
        await ask(pool)
        await pool.close()
        await pool.close()

    asyncio.run(main())


def test_after_close_a_call_still_works_and_keeps_nothing(upstream, run) -> None:
    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        await ask(pool)
        under_way = asyncio.ensure_future(ask(pool))
        await asyncio.sleep(0)
        await pool.close()
        assert said(await under_way) == "yes"
        assert said(await ask(pool)) == "yes"
        await settle(upstream, lambda: upstream.open_connections == 0)

    run(main())


def test_a_hundred_megabytes_arrive_and_more_are_refused(upstream, run) -> None:
    upstream.script = {"fits": huge(99_900_000), "over": huge(100_100_000), "m": "yes"}

    async def main() -> None:
        pool = HttpPool(upstream.base_url)
        assert len((await ask(pool, "fits")).body) > 99_900_000
        with pytest.raises(BackendError) as caught:
            await ask(pool, "over")
        assert caught.value.code == "upstream-too-large"
        assert said(await ask(pool)) == "yes"

    run(main())


def test_an_answer_before_the_request_is_sent_ends_that_connection(run) -> None:
    """A server may say 413 early and read no further: the rest of the request is in the way."""
    listening = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def serve() -> None:
        for _ in range(2):
            accepted.append(listening.accept()[0])
            accepted[-1].recv(1000)
            accepted[-1].sendall(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n")

    async def main() -> None:
        serving = asyncio.ensure_future(asyncio.to_thread(serve))
        pool = HttpPool(f"http://127.0.0.1:{listening.getsockname()[1]}")
        for _ in range(2):
            assert (await pool.request("POST", "/", {}, b"x" * 50_000_000)).status == 413
        await serving

    run(main())
    assert len(accepted) == 2
    for one in [*accepted, listening]:
        one.close()
