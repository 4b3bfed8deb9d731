"""Everything faulty that an upstream can do, to those who ask for a whole answer or a stream."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from inhouse.core.errors import BackendError
from inhouse.inference.base import Message, Question, ReplyStream
from inhouse.inference.upstream import UpstreamBackend
from inhouse.settings import UpstreamSettings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.upstream_behaviours import (
    answer,
    answer_then_close,
    bad_chunks,
    close_before_head,
    close_in_head,
    garbage,
    half_a_body,
    hang,
    in_turn,
    interim,
    json_body,
    raw,
    raw_body,
    reset,
    slowly,
    status,
    until_close,
)
from inhouse.testing.upstream_exchange import Behaviour, Exchange, head
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import (
    DONE,
    chunk,
    cut,
    event,
    raw_stream,
    stream,
    stream_error_event,
    stream_hang,
    stream_then_cut,
    stream_then_end,
    stream_then_raw,
    stream_then_reset,
    told,
)

CHAT = Question(messages=(Message("user", "hello"),))
Ask = Callable[[UpstreamBackend], Awaitable[str]]
CHUNKED = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
DATE = "Wed, 21 Oct 2015 07:28:00 GMT"
EARLIER = {"date": "Wed, 21 Oct 2015 07:27:30 GMT"}


async def ask_whole(backend: UpstreamBackend) -> str:
    return (await backend.answer(CHAT)).content


async def ask_stream(backend: UpstreamBackend) -> str:
    opened = await backend.stream(CHAT)
    try:
        async for piece in opened:
            assert piece.endswith((b"\n\n", b"\n\r\n"))
        return opened.reply().content
    finally:
        await opened.close()


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({}) as server:
        yield server


@pytest.fixture(params=[ask_whole, ask_stream], ids=["answer", "stream"])
def ask(request: pytest.FixtureRequest) -> Ask:
    chosen: Ask = request.param
    return chosen


def run(upstream: ScriptedUpstream, work: Callable[[UpstreamBackend], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        settings = UpstreamSettings(base_url=upstream.base_url)
        backend = UpstreamBackend("u/m", settings=settings, model="m", clock=FrozenClock())
        try:
            return await asyncio.wait_for(work(backend), 60)
        finally:
            await backend.close()

    done = asyncio.run(main())
    upstream.wait_until(lambda: upstream.open_connections == 0)
    return done


def fault(upstream: ScriptedUpstream, behaviour: Behaviour, ask: Ask) -> BackendError:
    """What the caller gets; the calls before and after it, on the same pool, are answered."""

    async def work(backend: UpstreamBackend) -> BackendError:
        upstream.script = {"m": "fine"}
        assert await ask(backend) == "fine"
        upstream.script = {"m": behaviour}
        with pytest.raises(BackendError) as caught:
            await ask(backend)
        upstream.script = {"m": "fine"}
        assert await ask(backend) == "fine"
        return caught.value

    error: BackendError = run(upstream, work)
    return error


async def no_content(exchange: Exchange) -> None:
    await exchange.send(b"HTTP/1.1 204 None\r\n\r\n")


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (reset(), "upstream-closed"),
        (close_before_head(), "upstream-closed"),
        (close_in_head(), "upstream-closed"),
        (raw(head(200, 9, CHUNKED)), "upstream-garbage"),
        (raw(head(200, None, CHUNKED)), "upstream-closed"),
        (half_a_body(), "upstream-closed"),
        (garbage(), "upstream-garbage"),
        (bad_chunks(), "upstream-garbage"),
        (raw(head(200, None, CHUNKED), b"fffffffffffffffff\r\n"), "upstream-garbage"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n"), "upstream-closed"),
        (raw(b"HTTP/1.1 100 Continue\r\n\r\n" * 4000), "upstream-too-large"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), "upstream-garbage"),
        (raw(b"HTTP/1.1 200 OK\r\nx: " + b"x" * 70_000), "upstream-too-large"),
        (no_content, "upstream-garbage"),
        (raw_body(b""), "upstream-garbage"),
        (raw_body(b"<html>welcome</html>"), "upstream-garbage"),
        (json_body({"error": {"message": "overloaded"}}), "upstream-garbage"),
        (json_body({"choices": []}), "upstream-garbage"),
        (raw(head(200, 200_000_000), *[b" " * 1_000_000] * 101), "upstream-too-large"),
        (status(500), "upstream-status"),
        (status(502, "x" * 1_000_000), "upstream-status"),
    ],
)
def test_a_fault_before_the_first_token(upstream, ask, behaviour, code) -> None:
    error = fault(upstream, behaviour, ask)
    assert (error.code, error.retryable, error.fatal) == (code, False, False)


@pytest.mark.parametrize(
    ("said", "headers", "seconds"), [("7", {}, 7.0), (DATE, EARLIER, 30.0), (DATE, {}, 0.0)]
)
def test_busy_upstreams_say_when_to_come_back(upstream, ask, said, headers, seconds) -> None:
    for code in (429, 503):
        error = fault(upstream, status(code, "busy", retry_after=said, headers=headers), ask)
        assert (error.code, error.upstream_status) == ("upstream-status", code)
        assert (error.retryable, error.retry_after) == (True, seconds)
        assert error.message == f"u/m answered {code}: busy"


@pytest.mark.parametrize("code", [400, 413, 422])
def test_a_request_at_fault_is_fatal(upstream, ask, code) -> None:
    assert fault(upstream, status(code), ask).fatal


@pytest.mark.parametrize(
    "behaviour",
    [
        answer("fine"),
        interim("fine"),
        interim("fine", *[102] * 50),
        slowly("fine"),
        until_close("fine"),
        answer_then_close("fine"),
        answer_then_close("fine", said=True),
    ],
)
def test_odd_but_right(upstream, ask, behaviour) -> None:
    async def work(backend: UpstreamBackend) -> None:
        upstream.script = {"m": behaviour}
        assert [await ask(backend) for _ in range(3)] == ["fine"] * 3

    run(upstream, work)


@pytest.mark.parametrize("last", [close_before_head(), reset()], ids=["close", "reset"])
def test_a_kept_connection_that_dies_under_the_request_costs_one_more_try(
    upstream, ask, last
) -> None:
    upstream.script = {"m": in_turn(said("one"), last, said("three"))}

    async def work(backend: UpstreamBackend) -> None:
        assert [await ask(backend) for _ in range(2)] == ["one", "three"]

    run(upstream, work)
    assert (upstream.hits["m"], upstream.connections) == (3, 2)


def test_a_kept_connection_that_dies_between_two_requests_is_not_noticed(upstream, ask) -> None:
    upstream.script = {"m": said("fine", close=True)}

    async def work(backend: UpstreamBackend) -> None:
        for _ in range(5):
            assert await ask(backend) == "fine"
            await asyncio.to_thread(upstream.wait_until, lambda: upstream.open_connections == 0)

    run(upstream, work)
    assert upstream.hits["m"] == 5


@pytest.mark.parametrize("behaviour", [hang(), stream_hang("a b c", after=0)])
def test_a_caller_that_gives_up_on_silence_closes_the_connection(upstream, ask, behaviour) -> None:
    upstream.script = {"m": behaviour}

    async def work(backend: UpstreamBackend) -> None:
        call = asyncio.ensure_future(ask(backend))
        await asyncio.to_thread(upstream.wait_until, lambda: upstream.hits["m"] == 1)
        call.cancel()
        await asyncio.wait([call])
        assert call.cancelled()
        await asyncio.to_thread(upstream.wait_until, lambda: upstream.open_connections == 0)
        upstream.script = {"m": "fine"}
        assert await ask(backend) == "fine"

    run(upstream, work)


def said(text: str, *, close: bool = False) -> Behaviour:
    """A whole answer or a stream, as asked for."""

    async def behave(exchange: Exchange) -> None:
        await (stream(text) if exchange.request.streams else answer(text))(exchange)
        if close:
            exchange.close()

    return behave


# Streams that began well.

NONSENSE = event(chunk({"content": "b"}))[:-9] + b"\n\n"
MEGABYTES = raw_stream(*[event(chunk({"content": "x" * 1_000_000}))] * 101)


async def collect(opened: ReplyStream, pieces: list[bytes]) -> None:
    async for piece in opened:
        pieces.append(piece)  # noqa: PERF401 - what comes before an error counts


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (stream_then_cut("a b c", after=1), "upstream-closed"),
        (stream_then_reset("a b c", after=1), "upstream-closed"),
        (stream_then_end("a b c", after=1), "upstream-closed"),
        (stream("a b c", done=False, finish_reason=""), "upstream-closed"),
        (raw_stream(told(["a"]).tokens[0], b"data: {", close=True), "upstream-closed"),
        (stream_error_event("a b c", after=1), "upstream-stream-error"),
        (stream_error_event("a b", after=1, error={"code": 503}), "upstream-stream-error"),
        (stream_error_event("a b c", after=1, name="error"), "upstream-stream-error"),
        (stream_then_raw("a b", b"zz\r\nhello", after=1), "upstream-garbage"),
        (stream_then_raw("a b", b"5\r\nhello!\r\n", after=1), "upstream-garbage"),
        (stream_then_raw("a b", b"%x\r\n" % len(NONSENSE), NONSENSE, after=1), "upstream-garbage"),
        (MEGABYTES, "upstream-too-large"),
    ],
)
def test_a_fault_after_the_first_token_is_raised_by_the_iteration(
    upstream, behaviour, code
) -> None:
    async def work(backend: UpstreamBackend) -> None:
        upstream.script = {"m": behaviour}
        opened = await backend.stream(CHAT)
        pieces: list[bytes] = []
        with pytest.raises(BackendError) as caught:
            await collect(opened, pieces)
        assert (caught.value.code, caught.value.fatal) == (code, False)
        assert b'"content"' in pieces[0]
        assert all(piece.endswith(b"\n\n") for piece in pieces)
        assert opened.reply().content[:1] in ("a", "x")
        with pytest.raises(BackendError):
            await anext(aiter(opened))
        upstream.script = {"m": "fine"}
        assert await ask_stream(backend) == "fine"

    run(upstream, work)


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (stream_then_cut("a", after=0), "upstream-closed"),
        (stream_then_reset("a", after=0), "upstream-closed"),
        (stream_then_end("a", after=0), "upstream-closed"),
        (stream_error_event("a", after=0), "upstream-stream-error"),
        (stream_error_event("a", after=0, error={"code": "503"}), "upstream-stream-error"),
        (stream_error_event("a", after=0, error={"code": 500}), "upstream-status"),
        (stream_then_raw("a", b"zz\r\nhello", after=0), "upstream-garbage"),
        (raw_stream(b"data: hello\n\n"), "upstream-garbage"),
        (raw_stream(b"data: [DONE]\n\n"), "upstream-garbage"),
        (raw_stream(b": ping\n\n" * 1000), "upstream-garbage"),
        (raw_stream(b"<html>welcome</html>"), "upstream-garbage"),
        (raw_stream(), "upstream-garbage"),
    ],
)
def test_a_fault_between_head_and_first_token(upstream, behaviour, code) -> None:
    error = fault(upstream, behaviour, ask_stream)
    assert (error.code, error.fatal) == (code, False)


def test_an_error_event_at_the_beginning_says_what_may_be_tried(upstream) -> None:
    busy = stream_error_event("a", after=0, error={"message": "busy", "code": 503})
    error = fault(upstream, busy, ask_stream)
    assert (error.message, error.retryable) == ("u/m answered 503: busy", True)
    named = stream_error_event("a", after=0, error="out of memory")
    assert fault(upstream, named, ask_stream).message == "u/m broke off its stream: out of memory"


def test_a_stream_that_falls_silent_is_closed_by_its_reader(upstream) -> None:
    upstream.script = {"m": stream_hang("a b c", after=2)}

    async def work(backend: UpstreamBackend) -> None:
        for end in ("cancel", "close"):
            opened = await backend.stream(CHAT)
            passed = b""
            while b'" b"' not in passed:
                passed += await anext(aiter(opened))
            if end == "cancel":
                waiting = asyncio.ensure_future(anext(aiter(opened)))
                await asyncio.sleep(0)
                waiting.cancel()
                await asyncio.wait([waiting])
            else:
                await opened.close()
            await asyncio.to_thread(upstream.wait_until, lambda: upstream.open_connections == 0)
            assert opened.reply().content == "a b"

    run(upstream, work)


def test_an_answer_that_goes_on_after_done_is_over_for_the_caller(upstream, monkeypatch) -> None:
    monkeypatch.setattr("inhouse.inference.upstream_stream.LINGER_S", 0.05)

    async def goes_on(exchange: Exchange) -> None:
        await exchange.send(head(200, None, CHUNKED))
        body = told(["a"]).whole
        await exchange.send(b"%x\r\n%b\r\n" % (len(body), body))
        await exchange.client_gone()
        exchange.close()

    upstream.script = {"m": goes_on}
    assert run(upstream, ask_stream) == "a"


def test_fuzz_damaged_streams_end_and_harm_no_other(upstream) -> None:
    rng = random.Random(31)
    whole = b"".join((*told(["a", "b", "c"]).tokens, told([]).ending, DONE))
    body = b"%x\r\n%b\r\n%x\r\n%b\r\n0\r\n\r\n" % (100, whole[:100], len(whole) - 100, whole[100:])

    def choose(_: object) -> Behaviour | str:
        if rng.random() < 0.3:
            return "fine"
        data = bytearray(head(200, None, CHUNKED) + body)
        for _ in range(rng.randint(0, 3)):
            at = rng.randrange(len(data))
            data[at : at + 1] = rng.choice((b"", b"\r", b"\n", b"0", b"{", b"\xff", b'"', b":"))
        if rng.random() < 0.2:
            del data[rng.randrange(1, len(data)) :]
        return raw(*cut(bytes(data), [rng.randrange(len(data)) for _ in range(4)]))

    upstream.script = choose

    async def work(backend: UpstreamBackend) -> set[str]:
        outcomes = set()

        async def caller() -> None:
            for _ in range(25):
                try:
                    await asyncio.wait_for(ask_stream(backend), 20)
                    outcomes.add("complete")
                except BackendError as error:
                    outcomes.add(error.code)

        await asyncio.gather(*(caller() for _ in range(6)))
        upstream.script = {"m": "fine"}
        assert await ask_stream(backend) == "fine"
        return outcomes

    assert {"complete", "upstream-closed", "upstream-garbage"} <= run(upstream, work)
