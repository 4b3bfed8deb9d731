"""A stream on its way through the gateway: its end is told once, before the caller sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from inhouse.core.errors import BackendError
from inhouse.gateway.stream import ChatStream
from inhouse.inference.base import Reply

DONE = b"data: [DONE]\n\n"


class Pieces:
    """A backend's stream that gives pieces, and ends as it is told to."""

    def __init__(self, *pieces: bytes, then: BaseException | str | None = None) -> None:
        self._pieces = pieces
        self._then = then
        self.closed = 0

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await asyncio.sleep(0)
            yield piece
        if self._then == "silence":
            await asyncio.Event().wait()
        if isinstance(self._then, BaseException):
            raise self._then

    def reply(self) -> Reply:
        return Reply()

    async def close(self) -> None:
        self.closed += 1


class World:
    """A stream, what came out of it, and what was told of its end."""

    def __init__(self, pieces: Pieces, *, idle_s: float = 5.0) -> None:
        self.pieces = pieces
        self.seen: list[bytes] = []
        self.ended: list[tuple[int, BaseException | None]] = []
        self.stream = ChatStream(
            pieces,
            self._end,
            interaction_id="i",
            model_version="m",
            arm="a",
            warnings=(),
            idle_s=idle_s,
        )

    async def _end(self, error: BaseException | None) -> None:
        self.ended.append((len(self.seen), error))

    async def read(self) -> None:
        async for piece in self.stream.pieces():
            self.seen.append(piece)


def error_of(event: bytes) -> Any:
    return json.loads(event.removeprefix(b"data: "))["error"]


def test_the_end_is_told_before_the_last_piece() -> None:
    world = World(Pieces(b"data: 1\n\n", b"data: 2\n\n" + DONE))
    asyncio.run(world.read())
    assert world.seen == [b"data: 1\n\n", b"data: 2\n\n" + DONE]
    assert world.ended == [(1, None)]
    assert world.pieces.closed == 1


def test_a_stream_without_a_mark_ends_too() -> None:
    world = World(Pieces(b"data: 1\n\n"))
    asyncio.run(world.read())
    assert world.ended == [(1, None)]


def test_what_breaks_off_becomes_one_error_event() -> None:
    error = BackendError("gone", code="upstream-closed")
    world = World(Pieces(b"data: 1\n\n", then=error))
    asyncio.run(world.read())
    assert world.ended == [(1, error)]
    assert error_of(world.seen[-1])["code"] == "upstream-closed"


def test_a_long_silence_is_a_failure() -> None:
    world = World(Pieces(b"data: 1\n\n", then="silence"), idle_s=0.05)

    async def whole() -> int:
        await world.read()
        task = asyncio.current_task()
        assert task is not None
        return task.cancelling()

    assert asyncio.run(whole()) == 0
    ((at, error),) = world.ended
    assert at == 1
    assert isinstance(error, BackendError)
    assert error.code == error_of(world.seen[-1])["code"] == "timeout"


def test_a_slow_reader_is_no_silence() -> None:
    world = World(Pieces(b"data: 1\n\n", b"data: 2\n\n", DONE), idle_s=0.02)

    async def slowly() -> None:
        async for piece in world.stream.pieces():
            world.seen.append(piece)
            loop = asyncio.get_running_loop()
            passed = loop.create_future()
            loop.call_later(0.06, passed.set_result, None)
            await passed

    asyncio.run(slowly())
    assert world.ended == [(2, None)]


@pytest.mark.parametrize("how", ["close", "cancel"])
def test_a_caller_who_leaves_is_told_as_that(how: str) -> None:
    world = World(Pieces(b"data: 1\n\n", then="silence"))

    async def leave() -> None:
        pieces = world.stream.pieces()
        await anext(pieces)
        if how == "close":
            await pieces.aclose()
            return
        waiting = asyncio.ensure_future(anext(pieces))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(leave())
    ((_, error),) = world.ended
    assert isinstance(error, GeneratorExit | asyncio.CancelledError)
    assert world.pieces.closed == 1
