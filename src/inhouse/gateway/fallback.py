"""One backend after another until one answers, all under one deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError, InhouseError
from inhouse.gateway import metrics
from inhouse.gateway.trace import Attempt

T = TypeVar("T")
Ask = Callable[[str], Awaitable[T]]
PAUSE_S: Final = 0.1


class AllFailed(Exception):
    """Nothing answered. ``last`` is what the last backend raised, or a BackendError with code
    ``timeout`` when the deadline passed; ``fatal`` when the request itself is at fault."""

    def __init__(self, last: InhouseError) -> None:
        super().__init__(last.message)
        self.last = last
        self.fatal = isinstance(last, BackendError) and last.fatal


class Chain:
    """Walks the references of one call.

    ``jitter`` draws from [0, 1). ``attempts`` collects every try, also the one that the deadline or
    a cancellation cuts off.
    """

    def __init__(
        self, *, clock: Clock, jitter: Callable[[], float], attempts: list[Attempt]
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._attempts = attempts

    async def walk(self, references: Sequence[str], ask: Ask[T], timeout_s: float) -> T:
        """The first answer. Raises AllFailed.

        A retryable failure is tried once more on the same backend, after a pause that is drawn from
        [0, 0.1 s) (full jitter) and lies behind the backend's Retry-After; when the deadline does
        not leave that much, the next backend is asked at once. A fatal failure ends the walk.
        """
        last: InhouseError = BackendError("the chain of models is empty", code="empty-chain")
        try:
            async with asyncio.timeout(timeout_s) as limit:
                for reference in references:
                    try:
                        return await self._twice(reference, ask, limit)
                    except InhouseError as error:
                        last = error
                        if isinstance(error, BackendError) and error.fatal:
                            break
        except TimeoutError:
            last = BackendError(f"no answer within {timeout_s:g} s", code="timeout")
        raise AllFailed(last)

    async def _twice(self, reference: str, ask: Ask[T], limit: asyncio.Timeout) -> T:
        try:
            return await self._once(reference, ask, limit)
        except BackendError as error:
            if error.fatal or not error.retryable:
                raise
            pause = (error.retry_after or 0.0) + PAUSE_S * self._jitter()
            if pause >= _left(limit):
                raise
        await asyncio.sleep(pause)
        return await self._once(reference, ask, limit)

    async def _once(self, reference: str, ask: Ask[T], limit: asyncio.Timeout) -> T:
        started = self._clock.monotonic()
        try:
            answer = await ask(reference)
        except BaseException as error:
            self._note(reference, started, "timeout" if limit.expired() else code_of(error))
            raise
        self._note(reference, started, None)
        return answer

    def _note(self, reference: str, started: float, code: str | None) -> None:
        latency_ms = round((self._clock.monotonic() - started) * 1e3, 3)
        metrics.attempt_counter(reference, code or "ok").inc()
        self._attempts.append(
            {"reference": reference, "ok": code is None, "code": code, "latency_ms": latency_ms}
        )


def _left(limit: asyncio.Timeout) -> float:
    """Seconds to the deadline."""
    when = limit.when()
    return 0.0 if when is None else when - asyncio.get_running_loop().time()


def code_of(error: BaseException) -> str:
    """The stable name of what ended a try or a call."""
    if isinstance(error, InhouseError):
        return error.code
    return "cancelled" if isinstance(error, asyncio.CancelledError) else "internal"
