"""Identical calls at the same moment: one execution, one result for all, nothing left behind."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from inhouse.gateway.coalesce import Coalescing


class Work:
    """Something slow that counts how often it runs."""

    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.started += 1
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return self.started


def run(test: Callable[[Coalescing[int], Work], Awaitable[Any]]) -> Any:
    async def whole() -> Any:
        return await test(Coalescing[int](), Work())

    return asyncio.run(whole())


async def _callers(coalescing: Coalescing[int], work: Work, *keys: str) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(coalescing.run(key, work)) for key in keys]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


def test_the_same_key_runs_once() -> None:
    async def test(coalescing: Coalescing[int], work: Work) -> list[int]:
        tasks = await _callers(coalescing, work, "a", "a", "a")
        assert work.started == 1
        work.go.set()
        return await asyncio.gather(*tasks)

    assert run(test) == [1, 1, 1]


def test_other_keys_and_later_calls_run_themselves() -> None:
    async def test(coalescing: Coalescing[int], work: Work) -> None:
        tasks = await _callers(coalescing, work, "a", "b")
        assert work.started == 2
        work.go.set()
        await asyncio.gather(*tasks)
        assert await coalescing.run("a", work) == 3

    run(test)


def test_an_error_is_everybodys() -> None:
    async def test(coalescing: Coalescing[int], work: Work) -> list[Any]:
        tasks = await _callers(coalescing, work, "a", "a")
        work.error = ValueError("broken")
        work.go.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [str(one) for one in run(test)] == ["broken", "broken"]


def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    async def test(coalescing: Coalescing[int], work: Work) -> None:
        first, second = await _callers(coalescing, work, "a", "a")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        work.go.set()
        assert await second == 1
        assert work.cancelled == 0

    run(test)


def test_the_last_who_leaves_ends_the_work() -> None:
    async def test(coalescing: Coalescing[int], work: Work) -> None:
        tasks = await _callers(coalescing, work, "a", "a")
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        (again,) = await _callers(coalescing, work, "a")
        assert (work.cancelled, work.started) == (1, 2)
        work.go.set()
        assert await again == 2

    run(test)
