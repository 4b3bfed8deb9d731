"""A caller that hangs up takes its call along, and nothing else does. (Over a real socket:
tests/integration/test_api_streams.py.)"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inhouse.api.body import Gone
from inhouse.api.hangup import unless_gone


def test_the_answer_comes_back_and_nothing_is_left_to_cancel() -> None:
    async def whole() -> tuple[str, dict[str, Any]]:
        scope: dict[str, Any] = {}

        async def work() -> str:
            await asyncio.sleep(0)
            return "answer"

        return await unless_gone(scope, work()), scope

    assert asyncio.run(whole()) == ("answer", {})


def test_a_hang_up_cancels_the_call() -> None:
    ended: list[str] = []

    async def whole() -> None:
        scope: dict[str, Any] = {}

        async def work() -> None:
            (hang_up,) = scope.values()
            hang_up()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise

        with pytest.raises(Gone):
            await unless_gone(scope, work())
        await asyncio.sleep(0)  # the cancellation is used up

    asyncio.run(whole())
    assert ended == ["cancelled"]


def test_a_shutdown_is_no_hang_up() -> None:
    async def whole() -> None:
        started = asyncio.Event()

        async def work() -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(unless_gone({}, work()))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(whole())


def test_what_the_call_raises_is_raised() -> None:
    async def work() -> None:
        raise ValueError("inner")

    with pytest.raises(ValueError, match="inner"):
        asyncio.run(unless_gone({}, work()))
