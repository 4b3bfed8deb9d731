"""The walk along a chain: second tries, deadline, trace."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, InhouseError, NotFound
from inhouse.gateway.fallback import PAUSE_S, AllFailed, Chain
from inhouse.gateway.trace import Attempt

Behaviour = Callable[[], str]


class Walk:
    """Scripted backends: for each reference, what its successive tries do."""

    def __init__(self, script: dict[str, list[str | InhouseError | None]]) -> None:
        self.script = {name: list(steps) for name, steps in script.items()}
        self.asked: list[str] = []
        self.attempts: list[Attempt] = []
        self.hanging = asyncio.Event()

    async def ask(self, reference: str) -> str:
        self.asked.append(reference)
        step = self.script[reference].pop(0)
        if step is None:
            self.hanging.set()
            await asyncio.Event().wait()
        if isinstance(step, InhouseError):
            raise step
        return str(step)

    async def run(self, *, timeout_s: float = 5.0, jitter: float = 0.0) -> str:
        chain = Chain(clock=SystemClock(), jitter=lambda: jitter, attempts=self.attempts)
        return await chain.walk(list(self.script), self.ask, timeout_s)

    @property
    def codes(self) -> list[tuple[str, str | None]]:
        return [(one["reference"], one["code"]) for one in self.attempts]


def busy(retry_after: float | None = None) -> BackendError:
    return BackendError("busy", code="busy", retryable=True, retry_after=retry_after)


def broken() -> BackendError:
    return BackendError("broken", code="broken")


def test_the_first_answer_ends_the_walk() -> None:
    walk = Walk({"a": ["yes"], "b": ["no"]})
    assert asyncio.run(walk.run()) == "yes"
    assert walk.codes == [("a", None)]
    assert walk.attempts[0]["ok"] is True


def test_a_retryable_failure_is_tried_once_more_then_the_next() -> None:
    walk = Walk({"a": [busy(), busy(), "never"], "b": ["yes"]})
    assert asyncio.run(walk.run()) == "yes"
    assert walk.codes == [("a", "busy"), ("a", "busy"), ("b", None)]


def test_a_lasting_failure_is_not_tried_again() -> None:
    walk = Walk({"a": [broken()], "b": [NotFound("gone", code="gone")], "c": ["yes"]})
    assert asyncio.run(walk.run()) == "yes"
    assert walk.asked == ["a", "b", "c"]


def test_a_fatal_failure_ends_the_walk() -> None:
    fatal = BackendError("too large", code="upstream-status", fatal=True, retryable=True)
    walk = Walk({"a": [fatal], "b": ["no"]})
    with pytest.raises(AllFailed) as caught:
        asyncio.run(walk.run())
    assert caught.value.fatal
    assert caught.value.last is fatal
    assert walk.asked == ["a"]


def test_when_all_fail_the_last_failure_is_kept() -> None:
    walk = Walk({"a": [broken()], "b": [busy(), broken()]})
    with pytest.raises(AllFailed) as caught:
        asyncio.run(walk.run())
    assert caught.value.last.code == "broken"
    assert not caught.value.fatal
    assert walk.codes == [("a", "broken"), ("b", "busy"), ("b", "broken")]


def test_an_empty_chain_fails_by_name() -> None:
    with pytest.raises(AllFailed) as caught:
        asyncio.run(Walk({}).run())
    assert caught.value.last.code == "empty-chain"


def test_retry_after_is_honoured() -> None:
    walk = Walk({"a": [busy(0.2), "yes"]})
    started = time.monotonic()
    assert asyncio.run(walk.run(jitter=0.5)) == "yes"
    assert time.monotonic() - started >= 0.2 + PAUSE_S * 0.5


def test_a_retry_after_behind_the_deadline_asks_the_next_at_once() -> None:
    walk = Walk({"a": [busy(60.0), "never"], "b": ["yes"]})
    assert asyncio.run(walk.run(timeout_s=30.0)) == "yes"
    assert walk.asked == ["a", "b"]


def test_one_deadline_covers_the_whole_chain() -> None:
    walk = Walk({"a": [broken()], "b": [None], "c": ["late"]})
    started = time.monotonic()
    with pytest.raises(AllFailed) as caught:
        asyncio.run(walk.run(timeout_s=0.1))
    assert time.monotonic() - started < 2.0
    assert caught.value.last.code == "timeout"
    assert walk.codes == [("a", "broken"), ("b", "timeout")]
    assert walk.attempts[1]["latency_ms"] >= 90


def test_a_cancelled_try_is_in_the_trace() -> None:
    async def hang_up() -> Walk:
        walk = Walk({"a": [None], "b": ["no"]})
        task = asyncio.create_task(walk.run())
        await walk.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return walk

    walk = asyncio.run(hang_up())
    assert walk.codes == [("a", "cancelled")]


def test_a_bug_of_a_backend_is_noted_and_not_hidden() -> None:
    walk = Walk({"a": []})
    with pytest.raises(IndexError):
        asyncio.run(walk.run())
    assert walk.codes == [("a", "internal")]
