"""The circuit breakers of this process, one per backend that was asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError, NotFound
from inhouse.gateway import metrics
from inhouse.gateway.breaker import Breaker, BreakerState, Verdict, judge

SILENT_CODE: Final = "breaker-silent"
_PROBING_S: Final = 1.0
_MOST: Final = 1024
_CLOSED, _OPEN, _HALF_OPEN = BreakerState
_ANSWERED, _FAILED, _UNTOLD = Verdict
_LEVELS = {_CLOSED: 0, _HALF_OPEN: 1, _OPEN: 2}


class BreakerOpen(BackendError):
    """The backend failed too often and is left alone. ``retry_after``: until it is tried again."""

    status = 503
    default_code = "breaker-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerView:
    """A breaker as people see it.

    ``failures``: in a row. ``opened_at`` and ``until`` (UTC) are set unless it is closed: since
    when it is open, and from when on one call may probe. ``error_code`` and ``error``: the last
    failure, also an old one. ``in_flight``: calls under way; ``calls``: all that were let through,
    ``opened``: times that it opened, both since the process began.
    """

    reference: str
    state: BreakerState
    failures: int
    opened_at: datetime | None
    until: datetime | None
    error_code: str | None
    error: str | None
    in_flight: int
    calls: int
    opened: int


class Guard:
    """A breaker with what goes around it: clock, jitter, metrics, the last error."""

    __slots__ = (
        *("_clock", "_error", "_is_shown", "_jitter", "_opened_at", "_shown", "_until"),
        *("breaker", "reference"),
    )

    def __init__(
        self,
        reference: str,
        breaker: Breaker,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        shown: bool = True,
    ) -> None:
        self.reference = reference
        self._is_shown = shown
        self.breaker = breaker
        self._error: tuple[str, str] | None = None
        self._clock = clock
        self._jitter = jitter
        self._shown: BreakerState | None = None
        self._opened_at: datetime | None = None
        self._until: datetime | None = None

    def start(self, now: float) -> int:
        """An admitted call begins; returns its ticket."""
        ticket = self.breaker.started(now)
        if self.breaker.state is _HALF_OPEN:
            self._show()
        return ticket

    def end(self, ticket: int, now: float, latency_s: float, error: BaseException | None) -> None:
        """A call ended: with an answer (None), or with an error that may count."""
        verdict = _ANSWERED if error is None else judge(error)
        if verdict is _ANSWERED:
            self.breaker.succeeded(ticket, latency_s)
        elif verdict is _UNTOLD:
            self.breaker.abandoned(ticket)
            return
        else:
            opened = self.breaker.opened
            self.breaker.failed(ticket, now, self._jitter())
            self._failed(now, error, opened)
        if self.breaker.state is not self._shown:
            self._show()

    def report(self, now: float, error: BaseException | None) -> None:
        """How a stream went on behind its first token."""
        verdict = judge(error)
        if verdict is _FAILED:
            opened = self.breaker.opened
            self.breaker.broke(now, self._jitter())
            self._failed(now, error, opened)
            self._show()
        elif verdict is _ANSWERED:
            self.breaker.completed()

    def reset(self) -> None:
        """Close the breaker."""
        self.breaker.reset()
        self._show()

    def refusal(self, now: float) -> BackendError:
        """Why ``breaker.admit`` says no."""
        if self.breaker.state is _CLOSED:
            return BackendError(
                f"{self.reference} owes {self.breaker.in_flight} answers; others were asked",
                code=SILENT_CODE,
            )
        wait = self.breaker.until - now
        return BreakerOpen(
            f"{self.reference} failed {self.breaker.row} times in a row and is left alone",
            hint="`inhouse breakers list` shows why, and `inhouse breakers reset` closes it",
            retry_after=wait if wait > 0 else _PROBING_S,
        )

    def view(self, now: float) -> BreakerView:
        """The breaker as it is now; an open one whose time is over counts as half-open."""
        breaker, error = self.breaker, self._error
        closed = breaker.state is _CLOSED
        due = breaker.state is _OPEN and now >= breaker.until
        return BreakerView(
            reference=self.reference,
            state=_HALF_OPEN if due else breaker.state,
            failures=breaker.row,
            opened_at=None if closed else self._opened_at,
            until=None if closed else self._until,
            error_code=None if error is None else error[0],
            error=None if error is None else error[1],
            in_flight=breaker.in_flight,
            calls=breaker.calls,
            opened=breaker.opened,
        )

    @property
    def is_told(self) -> bool:
        """Whether there is anything to say; a reference to nothing never has."""
        breaker = self.breaker
        return breaker.has_answered or self._error is not None or breaker.in_flight > 0

    def _failed(self, now: float, error: BaseException | None, opened: int) -> None:
        if isinstance(error, BackendError):
            self._error = error.code, error.message
        if self.breaker.opened != opened:
            self._opened_at = self._clock.now()
            self._until = self._opened_at + timedelta(seconds=self.breaker.until - now)
            metrics.opened_counter(self.reference).inc()

    def _show(self) -> None:
        self._shown = self.breaker.state
        if self._is_shown:
            metrics.state_gauge(self.reference).set(_LEVELS[self._shown])


class Breakers:
    """Every breaker of a process. For the tasks of one event loop.

    ``jitter`` draws from [0, 1). ``failures`` in a row open a breaker for ``open_s`` seconds, to
    which up to 10 % are added. ``shown``: whether Prometheus hears of their states.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        jitter: Callable[[], float],
        failures: int,
        open_s: float,
        shown: bool = True,
    ) -> None:
        self._clock = clock
        self._jitter = jitter
        self._failures = failures
        self._open_s = open_s
        self._shown = shown
        self._guards: dict[str, Guard] = {}

    def of(self, reference: str) -> Guard:
        """The guard of a backend; it comes to be when it is first asked for."""
        return self._guards.get(reference) or self._make(reference)

    def configure(self, *, failures: int, open_s: float) -> None:
        """Take over changed settings. What is open stays so for as long as it was meant to."""
        self._failures, self._open_s = failures, open_s
        for guard in list(self._guards.values()):  # also from another thread
            guard.breaker.threshold, guard.breaker.open_s = failures, open_s

    def states(self) -> list[BreakerView]:
        """Every breaker, by reference. May be asked from any thread."""
        now = self._clock.monotonic()
        told = [guard for guard in list(self._guards.values()) if guard.is_told]
        return [guard.view(now) for guard in sorted(told, key=lambda guard: guard.reference)]

    def reset(self, reference: str) -> BreakerView:
        """Close a breaker. Raises NotFound (code ``breaker-not-found``)."""
        guard = self._guards.get(reference)
        if guard is None or not guard.is_told:
            raise NotFound(
                f"there is no breaker of {reference}",
                code="breaker-not-found",
                hint="`inhouse breakers list` has them; each begins with its model's first call",
            )
        guard.reset()
        return guard.view(self._clock.monotonic())

    def _make(self, reference: str) -> Guard:
        """Callers may name any model of an upstream, so the oldest idle one makes room; an open one
        only where all are."""
        if len(self._guards) >= _MOST:
            idle = [name for name, guard in self._guards.items() if not guard.breaker.in_flight]
            closed = (name for name in idle if self._guards[name].breaker.state is _CLOSED)
            self._guards.pop(next(closed, idle[0] if idle else reference), None)
        breaker = Breaker(threshold=self._failures, open_s=self._open_s)
        guard = Guard(reference, breaker, self._clock, self._jitter, shown=self._shown)
        self._guards[reference] = guard
        return guard
