"""One backend after another until one answers, all under one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError, InhouseError
from inhouse.gateway import metrics
from inhouse.gateway.breakers import SILENT_CODE, Breakers, Guard
from inhouse.gateway.trace import Attempt

T = TypeVar("T")
Ask = Callable[[str], Awaitable[T]]
PAUSE_S: Final = 0.1
SHARE: Final = 0.5
"""Share of the time left that a try gets while others could answer instead."""
_MESSAGE_CHARACTERS: Final = 300


class AllFailed(Exception):
    """Nothing answered. ``last`` is what the last backend that was asked raised, a BackendError
    with code ``timeout`` when its time passed; when none was asked, the BackendError of the breaker
    (code ``breaker-open``) that closes first. ``fatal`` when the request itself is at fault."""

    def __init__(self, last: InhouseError) -> None:
        super().__init__(last.message)
        self.last = last
        self.fatal = isinstance(last, BackendError) and last.fatal


class Chain:
    """Walks the references of one call.

    ``jitter`` draws from [0, 1). ``attempts`` collects every try, also the one that the deadline or
    a cancellation cuts off, and every backend that its breaker left out (codes ``breaker-open``,
    ``breaker-silent``). ``answered`` is the reference that gave the answer, "" before.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        breakers: Breakers,
        attempts: list[Attempt],
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._breakers = breakers
        self._attempts = attempts
        self.answered = ""

    async def walk(
        self,
        references: Sequence[str],
        ask: Ask[T],
        timeout_s: float,
        try_timeout_s: float | None = None,
    ) -> T:
        """The first answer. Raises AllFailed.

        While others are left that may be asked, one try takes at most ``try_timeout_s``, or half of
        the time that is left; the last one takes all of it. A retryable failure is tried once more
        on the same backend, after a pause that is drawn from [0, 0.1 s) (full jitter) and lies
        behind the backend's Retry-After; when its time does not allow that, the next backend is
        asked at once. A fatal failure ends the walk. A backend that was left out for its silence is
        asked after all when the others have failed.
        """
        loop = asyncio.get_running_loop()
        limits = _Limits(loop, loop.time() + timeout_s, try_timeout_s)
        order, turns = list(references), len(references)
        last: InhouseError | None = None
        refusals: list[BackendError] = []
        for place, reference in enumerate(order):  # those that come again are added at its end
            guard = self._breakers.of(reference)
            now = self._clock.monotonic()
            in_turn = place < turns
            behind = order[place + 1 : turns] if in_turn else order[place + 1 :]
            limits.others = self._are_admitted(behind, now)
            if not guard.breaker.admit(now, alternatives=limits.others and in_turn):
                refusal = self._leave_out(guard, now)
                if refusal.code == SILENT_CODE:
                    order.append(reference)
                else:
                    refusals.append(refusal)
                continue
            try:
                try:
                    return await self._once(guard, ask, limits, now)
                except BackendError as error:
                    return await self._again(guard, ask, limits, error)
            except InhouseError as error:
                last = error
                if limits.are_over(error):
                    break
        raise AllFailed(last or _soonest(refusals))

    def report(self, reference: str, error: BaseException | None) -> None:
        """How a stream ended that ``walk`` had returned: None, or what broke it off. Its first
        token had counted as an answer; an error that counts is a failure all the same."""
        self._breakers.of(reference).report(self._clock.monotonic(), error)

    def _are_admitted(self, references: list[str], now: float) -> bool:
        """Whether any of them may be asked."""
        for reference in references:
            if self._breakers.of(reference).breaker.admit(now, alternatives=False):
                return True
        return False

    def _leave_out(self, guard: Guard, now: float) -> BackendError:
        refusal = guard.refusal(now)
        self._note(guard.reference, 0.0, refusal)
        return refusal

    async def _again(self, guard: Guard, ask: Ask[T], limits: _Limits, failure: BackendError) -> T:
        """The second try of a backend; raises the failure of the first when there is to be none."""
        if failure.fatal or not failure.retryable:
            raise failure
        pause = (failure.retry_after or 0.0) + PAUSE_S * self._jitter()
        if pause >= limits.of_try() - limits.loop.time():
            raise failure
        await asyncio.sleep(pause)
        now = self._clock.monotonic()
        if not guard.breaker.admit(now, alternatives=limits.others):
            raise failure
        return await self._once(guard, ask, limits, now)

    async def _once(self, guard: Guard, ask: Ask[T], limits: _Limits, started: float) -> T:
        ticket = guard.start(started)
        timer = _Timer(limits.loop, limits.of_try())
        try:
            answer = await ask(guard.reference)
        except BaseException as error:
            if timer.stop() and isinstance(error, asyncio.CancelledError):
                late = self._late(guard, started)
                self._end(guard, ticket, started, late)
                raise late from None
            self._end(guard, ticket, started, error)
            raise
        timer.stop()
        self._end(guard, ticket, started, None)
        self.answered = guard.reference
        return answer

    def _late(self, guard: Guard, started: float) -> BackendError:
        waited = self._clock.monotonic() - started
        return BackendError(
            f"{guard.reference} gave no answer within {waited:.3g} s",
            code="timeout",
            hint="timeout_s of the task is the time for all tries, try_timeout_s that for one",
        )

    def _end(self, guard: Guard, ticket: int, started: float, error: BaseException | None) -> None:
        now = self._clock.monotonic()
        guard.end(ticket, now, now - started, error)
        self._note(guard.reference, now - started, error)

    def _note(self, reference: str, latency_s: float, error: BaseException | None) -> None:
        code = None if error is None else code_of(error)
        metrics.attempt_counter(reference, code or "ok").inc()
        attempt: Attempt = {
            "reference": reference,
            "ok": code is None,
            "code": code,
            "latency_ms": round(latency_s * 1e3, 3),
        }
        if isinstance(error, InhouseError):
            attempt["message"] = error.message[:_MESSAGE_CHARACTERS]
        self._attempts.append(attempt)


class _Limits(msgspec.Struct):
    """The time of a walk, on the clock of the loop; ``others``: whether backends are left that want
    some of it."""

    loop: asyncio.AbstractEventLoop
    deadline: float
    try_timeout_s: float | None
    others: bool = False

    def of_try(self) -> float:
        """When a try that begins now must end."""
        if not self.others:
            return self.deadline
        now = self.loop.time()
        left = self.deadline - now
        return now + (left * SHARE if self.try_timeout_s is None else min(self.try_timeout_s, left))

    def are_over(self, error: InhouseError) -> bool:
        """Whether nobody else is to be asked after this error."""
        fatal = isinstance(error, BackendError) and error.fatal
        return fatal or self.loop.time() >= self.deadline


class _Timer:
    """Cancels this task at a time of its loop: what ``asyncio.timeout_at`` does, at a third of its
    cost, which would be half of a walk's."""

    __slots__ = ("_before", "_handle", "_has_fired", "_task")

    def __init__(self, loop: asyncio.AbstractEventLoop, when: float) -> None:
        task = asyncio.current_task(loop)
        if task is None:
            raise RuntimeError("a walk runs in a task")
        self._task = task
        self._before = task.cancelling()
        self._has_fired = False
        self._handle = loop.call_at(when, self._fire)

    def stop(self) -> bool:
        """Whether it has cancelled the task, and nobody else has."""
        self._handle.cancel()
        return self._has_fired and self._task.uncancel() <= self._before

    def _fire(self) -> None:
        self._has_fired = True
        self._task.cancel()


def _soonest(refusals: list[BackendError]) -> BackendError:
    """Of several breakers' refusals the one that ends first."""
    if not refusals:
        return BackendError("the chain of models is empty", code="empty-chain")
    return min(refusals, key=lambda refusal: refusal.retry_after or 0.0)


def code_of(error: BaseException) -> str:
    """The stable name of what ended a try or a call."""
    if isinstance(error, InhouseError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal"
