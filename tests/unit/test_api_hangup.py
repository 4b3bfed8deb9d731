"""A caller that hangs up takes its call along, and nothing else does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inhouse.api.body import Gone
from inhouse.api.hangup import unless_gone


class Caller:
    """A connection whose other end can hang up."""

    def __init__(self) -> None:
        self.left = asyncio.Event()
        self.listening = 0

    async def receive(self) -> dict[str, Any]:
        self.listening += 1
        try:
            await self.left.wait()
        finally:
            self.listening -= 1
        return {"type": "http.disconnect"}


def test_the_answer_comes_back_and_nobody_listens_any_more() -> None:
    asyncio.run(_test_the_answer_comes_back_and_nobody_listens_any_more())


async def _test_the_answer_comes_back_and_nobody_listens_any_more() -> None:
    caller = Caller()

    async def work() -> str:
        await asyncio.sleep(0)
        return "answer"

    assert await unless_gone(caller.receive, work()) == "answer"
    await asyncio.sleep(0)
    assert caller.listening == 0


def test_a_hang_up_cancels_the_call() -> None:
    asyncio.run(_test_a_hang_up_cancels_the_call())


async def _test_a_hang_up_cancels_the_call() -> None:
    caller = Caller()
    ended: list[str] = []

    async def work() -> None:
        caller.left.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    with pytest.raises(Gone):
        await unless_gone(caller.receive, work())
    assert ended == ["cancelled"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


def test_an_error_of_the_call_comes_through() -> None:
    asyncio.run(_test_an_error_of_the_call_comes_through())


async def _test_an_error_of_the_call_comes_through() -> None:
    async def work() -> None:
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await unless_gone(Caller().receive, work())


def test_a_cancellation_from_elsewhere_stays_one() -> None:
    asyncio.run(_test_a_cancellation_from_elsewhere_stays_one())


async def _test_a_cancellation_from_elsewhere_stays_one() -> None:
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.ensure_future(unless_gone(Caller().receive, work()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_hang_up_in_the_moment_of_the_answer_is_still_one_or_the_other() -> None:
    asyncio.run(_test_a_hang_up_in_the_moment_of_the_answer_is_still_one_or_the_other())


async def _test_a_hang_up_in_the_moment_of_the_answer_is_still_one_or_the_other() -> None:
    caller = Caller()

    async def work() -> str:
        caller.left.set()
        return "answer"

    assert await unless_gone(caller.receive, work()) == "answer"
