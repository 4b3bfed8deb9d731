"""When a backend is left alone: the circuit breaker of one backend, as a pure state machine.

Closed, it lets calls through; so many failures in a row open it; after a while exactly one call may
probe (half-open), and its end closes or opens the breaker again. A backend that hangs fails late,
so silence counts before failures do: while others could answer instead, no more calls wait for it
than failures would open the breaker.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from inhouse.core.errors import BackendError

JITTER: Final = 0.1
"""Largest share that is added to the time a breaker stays open."""
_PATIENCE: Final = 4.0
_LEAST_S: Final = 0.05
_RISE, _FALL = 0.25, 0.02
_DOUBT: Final = 2
_SAID = frozenset({"unparsable", "upstream-cut", "upstream-refused"})
_UNFIT = frozenset({"unsupported", "task-mismatch", "upstream-limit", "no-probabilities"})


class BreakerState(StrEnum):
    """What a breaker does with calls: let them through, refuse them, or let one probe."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Verdict(StrEnum):
    """What the end of a try says about the backend; ``untold``: nothing."""

    ANSWERED = "answered"
    FAILED = "failed"
    UNTOLD = "untold"


_CLOSED, _OPEN, _HALF_OPEN = BreakerState  # looking into an enum costs ten times as much
_ANSWERED, _FAILED, _UNTOLD = Verdict


def judge(error: BaseException | None) -> Verdict:
    """What counts. An answer that is of no use is an answer. A request at fault, one that this
    backend is not made for or was not sent, a caller who left and a reference to nothing say
    nothing. Every other failure of a backend (time-out, connection, garbage, status) counts."""
    if error is None:
        return _ANSWERED
    if not isinstance(error, BackendError) or error.fatal or error.code in _UNFIT:
        return _UNTOLD
    return _ANSWERED if error.code in _SAID else _FAILED


class Breaker:
    """The breaker of one backend. ``now`` is monotonic seconds, and never runs back.

    ``threshold``: failures in a row that open it; ``open_s``: seconds it stays open, before jitter.
    Both may be changed at any time. Ask ``admit``, then tell ``started`` and, with its ticket, how
    the try ended: exactly one of ``succeeded``, ``failed``, ``abandoned``.
    """

    __slots__ = (
        *("_probe", "_ticket", "_unproven", "_usual_s", "broken", "calls", "failures"),
        *("in_flight", "open_s", "opened", "state", "threshold", "until"),
    )

    def __init__(self, *, threshold: int, open_s: float) -> None:
        self.threshold = threshold
        self.open_s = open_s
        self.state = _CLOSED
        self.failures = 0
        self.broken = 0
        self.until = 0.0
        self.in_flight = 0
        self.calls = 0
        self.opened = 0
        self._ticket = 0
        self._probe: int | None = None
        self._usual_s: float | None = None
        self._unproven: dict[int, float] = {}

    @property
    def has_answered(self) -> bool:
        """Whether it ever did."""
        return self._usual_s is not None

    @property
    def row(self) -> int:
        """Failures in a row, before the first token or behind it."""
        return max(self.failures, self.broken)

    def admit(self, now: float, *, alternatives: bool) -> bool:
        """Whether a call may go to the backend now. ``alternatives``: others could answer it
        instead; only then does silence count."""
        if self.state is _CLOSED:
            return not (alternatives and self._is_doubtful(now))
        if self.state is _OPEN:
            return now >= self.until
        return self._probe is None

    def started(self, now: float) -> int:
        """An admitted call begins; returns its ticket. From an open breaker it is the probe."""
        self._ticket += 1
        self.calls += 1
        self.in_flight += 1
        self._unproven[self._ticket] = now
        if self.state is not _CLOSED:
            self.state = _HALF_OPEN
            self._probe = self._ticket
        return self._ticket

    def succeeded(self, ticket: int, latency_s: float) -> None:
        """The backend answered. What came in before an open breaker's probe changes nothing."""
        self.in_flight -= 1
        self._learn(latency_s)
        if self.state is _CLOSED:
            self.failures = 0
            self._unproven.clear()
            return
        self._unproven.pop(ticket, None)
        if ticket == self._probe:
            self.reset()

    def failed(self, ticket: int, now: float, jitter: float) -> None:
        """The backend failed. ``jitter`` in [0, 1) lengthens the time that it is open."""
        self._end(ticket)
        if self.state is _CLOSED:
            self.failures += 1
            if self.failures >= self.threshold:
                self._open(now, jitter)
        elif ticket == self._probe:
            self.failures += 1
            self._open(now, jitter)

    def abandoned(self, ticket: int) -> None:
        """The call ended without telling anything about the backend."""
        self._end(ticket)
        if ticket == self._probe:
            self._probe = None

    def broke(self, now: float, jitter: float) -> None:
        """A stream broke off behind its first token, which had counted as success. Such ends are
        counted by themselves; as many in a row open the breaker, too."""
        self.broken += 1
        if self.state is _CLOSED and self.broken >= self.threshold:
            self._open(now, jitter)

    def completed(self) -> None:
        """A stream came to its end."""
        self.broken = 0

    def reset(self) -> None:
        """Close it. Calls under way tell what they will tell."""
        self.state = _CLOSED
        self.failures = self.broken = 0
        self._probe = None
        self._unproven.clear()

    def _is_doubtful(self, now: float) -> bool:
        """Whether the calls under way would open the breaker if they all failed, and there is
        reason to fear it: the backend never answered, failed more than once just now, or was
        silent for several times its usual latency. One answer ends it."""
        room = max(1, self.threshold - self.failures)
        if self._usual_s is None or self.failures >= _DOUBT:
            return self.in_flight >= room
        if len(self._unproven) < room:
            return False
        waiting = now - next(iter(self._unproven.values()))
        return waiting > max(_LEAST_S, _PATIENCE * self._usual_s)

    def _learn(self, latency_s: float) -> None:
        """Follow a high quantile of the latency: up fast, down slowly."""
        usual = self._usual_s
        if usual is None:
            self._usual_s = latency_s
        else:
            self._usual_s = usual + (latency_s - usual) * (_RISE if latency_s > usual else _FALL)

    def _end(self, ticket: int) -> None:
        self.in_flight -= 1
        self._unproven.pop(ticket, None)

    def _open(self, now: float, jitter: float) -> None:
        self.state = _OPEN
        self.until = now + self.open_s * (1.0 + JITTER * jitter)
        self.opened += 1
        self._probe = None
