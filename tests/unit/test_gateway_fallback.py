"""The walk along a chain: second tries, shares of the time, breakers, trace. Time is the clock's:
the loop jumps to its next timer instead of waiting for it."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import pytest

from inhouse.core.errors import BackendError, InhouseError, NotFound
from inhouse.gateway.breaker import BreakerState
from inhouse.gateway.breakers import Breakers, BreakerView
from inhouse.gateway.fallback import PAUSE_S, AllFailed, Chain
from inhouse.gateway.trace import Attempt
from inhouse.testing.clock import FrozenClock

T = TypeVar("T")
Step = str | BaseException | float | None
"""An answer, a failure, an answer after so many seconds, or no answer at all."""
OPEN = BreakerState.OPEN


class _Jump(selectors.DefaultSelector):
    clock: FrozenClock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        if not found and timeout:
            self.clock.advance(timeout)
        return found


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop on a FrozenClock."""

    def __init__(self, clock: FrozenClock) -> None:
        selector = _Jump()
        selector.clock = self._frozen = clock
        super().__init__(selector)

    def time(self) -> float:
        return self._frozen.monotonic()


class Stream:
    """What an ``ask`` returns for a stream: something whose first token is there."""

    def __init__(self, token: str) -> None:
        self.token = token


class Walk:
    """Scripted backends: for each reference what its successive tries do; the last one repeats."""

    def __init__(
        self, script: Mapping[str, Sequence[Step]], *, failures: int = 5, streaming: bool = False
    ) -> None:
        self.script = {name: list(steps) for name, steps in script.items()}
        self.streaming = streaming
        self.asked: list[str] = []
        self.attempts: list[Attempt] = []
        self.clock = FrozenClock()
        self.jitter = 0.0
        self.hanging = asyncio.Event()
        self.chain: Chain
        self.breakers = Breakers(
            clock=self.clock, jitter=lambda: self.jitter, failures=failures, open_s=300.0
        )

    async def ask(self, reference: str) -> Any:
        self.asked.append(reference)
        steps = self.script[reference]
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        if step is None:
            self.hanging.set()
            await asyncio.Event().wait()
        if isinstance(step, float):
            await asyncio.sleep(step)
        if isinstance(step, BaseException):
            raise step
        return Stream(str(step)) if self.streaming else str(step)

    async def once(self, *, timeout_s: float = 5.0, try_timeout_s: float | None = None) -> str:
        self.attempts = []
        self.chain = Chain(
            clock=self.clock,
            jitter=lambda: self.jitter,
            breakers=self.breakers,
            attempts=self.attempts,
        )
        answer = await self.chain.walk(list(self.script), self.ask, timeout_s, try_timeout_s)
        return answer.token if self.streaming else answer

    def run(self, **limits: float) -> str:
        return self.play(self.once(**limits))

    def fail(self, **limits: float) -> AllFailed:
        with pytest.raises(AllFailed) as caught:
            self.run(**limits)
        return caught.value

    def play(self, work: Coroutine[Any, Any, T]) -> T:
        with asyncio.Runner(loop_factory=lambda: JumpingLoop(self.clock)) as runner:
            return runner.run(work)

    @property
    def codes(self) -> list[tuple[str, str | None]]:
        return [(one["reference"], one["code"]) for one in self.attempts]

    def state(self, reference: str) -> BreakerView:
        return next(view for view in self.breakers.states() if view.reference == reference)


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def streaming(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def busy(retry_after: float | None = None) -> BackendError:
    return BackendError("busy", code="busy", retryable=True, retry_after=retry_after)


def broken() -> BackendError:
    return BackendError("broken", code="broken")


def test_the_first_answer_ends_the_walk(streaming: bool) -> None:
    walk = Walk({"a": ["yes"], "b": ["no"]}, streaming=streaming)
    assert walk.run() == "yes"
    assert walk.codes == [("a", None)]
    assert walk.attempts[0]["ok"] is True
    assert "message" not in walk.attempts[0]
    assert walk.chain.answered == "a"


def test_a_retryable_failure_is_tried_once_more_then_the_next(streaming: bool) -> None:
    walk = Walk({"a": [busy()], "b": ["yes"]}, streaming=streaming)
    assert walk.run() == "yes"
    assert walk.codes == [("a", "busy"), ("a", "busy"), ("b", None)]
    assert walk.chain.answered == "b"


def test_a_lasting_failure_is_not_tried_again() -> None:
    walk = Walk({"a": [broken()], "b": [NotFound("gone", code="gone")], "c": ["yes"]})
    assert walk.run() == "yes"
    assert walk.asked == ["a", "b", "c"]


def test_a_failure_says_in_the_trace_what_went_wrong() -> None:
    walk = Walk({"a": [BackendError("x" * 400, code="broken")], "b": ["yes"]})
    walk.run()
    assert walk.attempts[0].get("message") == "x" * 300


def test_a_fatal_failure_ends_the_walk() -> None:
    fatal = BackendError("too large", code="upstream-status", fatal=True, retryable=True)
    walk = Walk({"a": [fatal], "b": ["no"]})
    failed = walk.fail()
    assert failed.fatal
    assert failed.last is fatal
    assert walk.asked == ["a"]


def test_when_all_fail_the_last_failure_is_kept() -> None:
    walk = Walk({"a": [broken()], "b": [busy(), broken()]})
    failed = walk.fail()
    assert failed.last.code == "broken"
    assert not failed.fatal
    assert walk.codes == [("a", "broken"), ("b", "busy"), ("b", "broken")]


def test_an_empty_chain_fails_by_name() -> None:
    assert Walk({}).fail().last.code == "empty-chain"


def test_retry_after_is_honoured_with_full_jitter_behind_it() -> None:
    walk = Walk({"a": [busy(2.0), "yes"]})
    walk.jitter = 0.5
    assert walk.run() == "yes"
    assert walk.clock.monotonic() == pytest.approx(2.0 + PAUSE_S * 0.5)


@pytest.mark.parametrize("retry_after", [2.6, 60.0])
def test_a_retry_after_that_leaves_others_no_time_asks_the_next_at_once(retry_after: float) -> None:
    walk = Walk({"a": [busy(retry_after)], "b": ["yes"]})
    assert walk.run(timeout_s=5.0) == "yes"
    assert walk.asked == ["a", "b"]
    assert walk.clock.monotonic() == 0.0


class TestTime:
    """One deadline; a try leaves time for those behind it."""

    def test_half_of_what_is_left_for_each_and_the_rest_for_the_last(self) -> None:
        walk = Walk({"a": [None], "b": [None], "c": [None]})
        assert walk.fail(timeout_s=8.0).last.code == "timeout"
        assert [one["latency_ms"] for one in walk.attempts] == pytest.approx([4000, 2000, 2000])
        assert walk.codes == [("a", "timeout"), ("b", "timeout"), ("c", "timeout")]
        assert walk.clock.monotonic() == pytest.approx(8.0)

    def test_a_declared_limit_holds_for_each_but_the_last(self, streaming: bool) -> None:
        walk = Walk({"a": [None], "b": [None], "c": [4.0]}, streaming=streaming)
        assert walk.run(timeout_s=6.0, try_timeout_s=0.5) == "4.0"
        assert [one["latency_ms"] for one in walk.attempts] == pytest.approx([500, 500, 4000])

    def test_a_declared_limit_is_never_beyond_the_deadline(self) -> None:
        walk = Walk({"a": [None], "b": ["yes"]})
        walk.fail(timeout_s=1.0, try_timeout_s=60.0)
        assert walk.codes == [("a", "timeout")]

    def test_the_only_one_gets_all_the_time(self) -> None:
        walk = Walk({"a": [4.9]})
        assert walk.run(timeout_s=5.0, try_timeout_s=0.1) == "4.9"

    def test_the_last_that_may_be_asked_gets_all_the_time(self) -> None:
        walk = Walk({"a": [4.9], "b": [broken()]}, failures=1)
        walk.breakers.of("b").end(walk.breakers.of("b").start(0.0), 0.0, 0.0, broken())
        assert walk.run(timeout_s=5.0) == "4.9"

    def test_a_time_out_says_how_long_it_waited(self) -> None:
        walk = Walk({"a": [None]})
        last = walk.fail(timeout_s=1.5).last
        assert "a gave no answer within 1.5 s" in last.message
        assert last.hint

    def test_a_timeout_of_the_backends_own_is_no_time_out(self) -> None:
        walk = Walk({"a": [TimeoutError("inside")]})
        with pytest.raises(TimeoutError, match="inside"):
            walk.run()
        assert walk.codes == [("a", "internal")]

    def test_the_time_of_a_walk_leaves_its_task_alone_afterwards(self) -> None:
        walk = Walk({"a": [None], "b": ["yes"]})

        async def go_on() -> int:
            await walk.once(timeout_s=1.0)
            await asyncio.sleep(10.0)
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        assert walk.play(go_on()) == 0

    def test_a_time_out_around_the_walk_stays_the_callers(self) -> None:
        walk = Walk({"a": [None], "b": ["no"]})

        async def hurry() -> None:
            async with asyncio.timeout(1.0):
                await walk.once(timeout_s=5.0)

        with pytest.raises(TimeoutError):
            walk.play(hurry())
        assert walk.codes == [("a", "cancelled")]
        assert walk.clock.monotonic() == pytest.approx(1.0)


def test_a_cancelled_try_is_in_the_trace_and_tells_nothing_of_the_backend() -> None:
    walk = Walk({"a": [None], "b": ["no"]}, failures=1)

    async def hang_up() -> None:
        task = asyncio.create_task(walk.once())
        await walk.hanging.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    walk.play(hang_up())
    assert walk.codes == [("a", "cancelled")]
    assert walk.breakers.states() == []
    assert walk.breakers.of("a").breaker.in_flight == 0


def test_a_bug_of_a_backend_is_noted_and_not_hidden() -> None:
    walk = Walk({"a": [IndexError("bug")]})
    with pytest.raises(IndexError):
        walk.run()
    assert walk.codes == [("a", "internal")]


class TestBreakers:
    """Who is left out, and how the trace and the operator hear of it."""

    def test_a_dead_one_is_left_out_after_five_failures(self, streaming: bool) -> None:
        walk = Walk({"a": [broken()], "b": ["yes"]}, streaming=streaming)

        async def many() -> list[str]:
            return [await walk.once() for _ in range(600)]

        assert walk.play(many()) == ["yes"] * 600
        assert walk.asked.count("a") == 5
        assert walk.codes == [("a", "breaker-open"), ("b", None)]
        left_out = walk.attempts[0]
        assert (left_out["ok"], left_out["latency_ms"]) == (False, 0.0)
        assert walk.state("a").calls == 5

    def test_a_busy_one_is_not_tried_again_once_it_is_open(self) -> None:
        walk = Walk({"a": [busy()], "b": ["yes"]})

        async def many() -> None:
            for _ in range(10):
                await walk.once()

        walk.play(many())
        assert walk.asked.count("a") == 5

    def test_the_only_one_is_refused_at_once_with_the_time_to_wait(self) -> None:
        walk = Walk({"a": [broken()]}, failures=1)
        walk.jitter = 0.5
        assert walk.fail().last.code == "broken"
        walk.clock.advance(100.0)
        last = walk.fail().last
        assert isinstance(last, BackendError)
        assert (last.code, last.status, last.retryable) == ("breaker-open", 503, False)
        assert last.retry_after == pytest.approx(300 * 1.05 - 100)
        assert "inhouse breakers" in last.hint
        assert walk.asked == ["a"]
        assert walk.codes == [("a", "breaker-open")]

    def test_of_several_that_are_open_the_soonest_is_told(self) -> None:
        walk = Walk({"a": [broken()], "b": [broken()]}, failures=1)
        walk.fail()
        walk.clock.advance(10.0)
        walk.breakers.of("b").reset()
        walk.fail()
        last = walk.fail().last
        assert isinstance(last, BackendError)
        assert last.retry_after == pytest.approx(290.0)

    def test_a_failure_that_was_met_is_told_before_a_breaker(self) -> None:
        walk = Walk({"a": [broken()], "b": [NotFound("gone", code="gone")]}, failures=1)
        walk.fail()
        assert walk.fail().last.code == "gone"
        assert walk.codes == [("a", "breaker-open"), ("b", "gone")]

    def test_a_cold_one_that_hangs_takes_five_calls_of_twenty_at_once(
        self, streaming: bool
    ) -> None:
        walk = Walk({"a": [None], "b": [0.1]}, streaming=streaming)

        async def many() -> None:
            await asyncio.gather(*(walk.once(timeout_s=3.0) for _ in range(20)))
            await walk.once()

        walk.play(many())
        assert (walk.asked.count("a"), walk.asked.count("b")) == (5, 21)
        assert walk.state("a").state is BreakerState.OPEN
        assert walk.codes == [("a", "breaker-open"), ("b", None)]

    def test_one_left_out_for_its_silence_is_asked_after_all_when_the_others_fail(self) -> None:
        walk = Walk({"a": [0.5], "b": [broken()]})

        async def many() -> list[str]:
            return await asyncio.gather(*(walk.once() for _ in range(8)))

        assert walk.play(many()) == ["0.5"] * 8
        assert walk.codes == [("a", "breaker-silent"), ("b", "broken"), ("a", None)]
        assert walk.state("a").calls == 8
        assert walk.state("a").state is BreakerState.CLOSED

    def test_without_others_a_cold_one_takes_all_that_come(self) -> None:
        walk = Walk({"a": [0.5]})

        async def many() -> list[str]:
            return await asyncio.gather(*(walk.once() for _ in range(50)))

        assert walk.play(many()) == ["0.5"] * 50

    def test_exactly_one_probe_of_fifty_callers(self, streaming: bool) -> None:
        walk = Walk({"a": [broken(), 1.0], "b": ["yes"]}, failures=1, streaming=streaming)

        async def many() -> list[str]:
            await walk.once()
            walk.clock.advance(300.0)
            return await asyncio.gather(*(walk.once() for _ in range(50)))

        answers = walk.play(many())
        assert (answers.count("1.0"), answers.count("yes")) == (1, 49)
        assert walk.state("a").state is BreakerState.CLOSED

    def test_a_stream_that_breaks_off_is_told_afterwards(self) -> None:
        walk = Walk({"a": ["yes"]}, failures=2, streaming=True)

        async def broken_streams() -> None:
            for _ in range(2):
                await walk.once()
                walk.chain.report(walk.chain.answered, BackendError("cut", code="upstream-closed"))

        walk.play(broken_streams())
        assert walk.fail().last.code == "breaker-open"
        assert walk.state("a").error_code == "upstream-closed"

    @pytest.mark.parametrize("between", [None, asyncio.CancelledError()])
    def test_streams_that_ended_well_begin_the_row_again(
        self, between: BaseException | None
    ) -> None:
        walk = Walk({"a": ["yes"]}, failures=2, streaming=True)

        async def mixed() -> None:
            for ended in (broken(), between, broken()):
                await walk.once()
                walk.chain.report("a", ended)

        walk.play(mixed())
        assert walk.state("a").state is (BreakerState.CLOSED if between is None else OPEN)


class TestRegistry:
    """What an operator sees and may change."""

    def test_the_view_of_an_open_breaker(self) -> None:
        walk = Walk({"a": [broken()], "b": ["yes"]}, failures=1)
        walk.run()
        view = walk.state("a")
        assert (view.state, view.failures, view.calls, view.opened) == (OPEN, 1, 1, 1)
        assert (view.error_code, view.error, view.in_flight) == ("broken", "broken", 0)
        assert view.opened_at == walk.clock.now()
        assert view.until is not None
        assert (view.until - walk.clock.now()).total_seconds() == pytest.approx(300.0)
        walk.clock.advance(300.0)
        assert walk.state("a").state is BreakerState.HALF_OPEN

    def test_an_operator_closes_it(self) -> None:
        walk = Walk({"a": [broken(), "yes"]}, failures=1)
        walk.fail()
        assert walk.breakers.reset("a").state is BreakerState.CLOSED
        assert walk.run() == "yes"
        assert walk.state("a").until is None

    def test_only_what_was_asked_has_one(self) -> None:
        walk = Walk({"gone/x": [NotFound("gone")], "b": ["yes"]})
        walk.run()
        assert [view.reference for view in walk.breakers.states()] == ["b"]
        for reference in ("gone/x", "never/asked"):
            with pytest.raises(NotFound) as caught:
                walk.breakers.reset(reference)
            assert caught.value.code == "breaker-not-found"

    def test_changed_settings_hold_at_once(self) -> None:
        walk = Walk({"a": [broken()], "b": ["yes"]})
        walk.breakers.configure(failures=2, open_s=10.0)
        walk.run()
        walk.run()
        assert walk.state("a").state is OPEN
        walk.clock.advance(10.0)
        assert walk.state("a").state is BreakerState.HALF_OPEN

    def test_names_without_number_drive_no_open_one_out(self) -> None:
        clock = FrozenClock()
        breakers = Breakers(clock=clock, jitter=lambda: 0.0, failures=1, open_s=300.0)
        guard = breakers.of("up/dead")
        error = BackendError("dead", code="upstream-connect", retryable=True)
        guard.end(guard.start(clock.monotonic()), clock.monotonic(), 0.1, error)
        for number in range(2000):
            breakers.of(f"up/{number}")
        assert breakers.of("up/dead").breaker.state is BreakerState.OPEN

    def test_any_number_of_names_takes_little_room(self) -> None:
        walk = Walk({"a": ["yes"]})
        for number in range(5000):
            walk.breakers.of(f"up/{number}")
        assert len(walk.breakers._guards) <= 1024


def test_an_error_of_the_product_that_is_no_backends_goes_on_to_the_next() -> None:
    walk = Walk({"a": [InhouseError("odd")], "b": ["yes"]})
    assert walk.run() == "yes"
    assert walk.codes == [("a", "internal"), ("b", None)]
