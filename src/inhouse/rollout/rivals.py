"""Rules that others use, to be run beside ours on the same streams.

They look at the success of calls only, one after the other.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Final

from inhouse.rollout.bars import Verdict
from inhouse.rollout.plan import FULL_BP
from inhouse.rollout.played import PlainRoute, Sent
from inhouse.rollout.truths import Call

STEPS_BP: Final = (1000, 3000, 5000, 6000, 7000, 8000, 9000, FULL_BP)
EVERY: Final = 200


class Rival(ABC):
    """A rule that moves a weight by what it sees. ``salt`` is that of its route."""

    name: ClassVar[str]
    because: str
    first_bp: ClassVar[int] = STEPS_BP[0]

    def __init__(self, salt: str) -> None:
        self.route = PlainRoute(salt, self.first_bp)

    def see(self, sent: Sequence[Sent], labels: Sequence[Sent]) -> Verdict | None:
        for one in sent:
            verdict = self._see(one.call, candidate=one.candidate)
            if verdict is not None:
                return verdict
        return None

    def close(self) -> None:
        """Give nothing up: nothing is held."""
        return

    @abstractmethod
    def _see(self, call: Call, *, candidate: bool) -> Verdict | None: ...


class _Counts:
    __slots__ = ("bad", "calls")

    def __init__(self) -> None:
        self.bad = [0.0, 0.0]
        self.calls = [0, 0]

    def add(self, call: Call, *, candidate: bool) -> None:
        self.bad[candidate] += call.bad[candidate]
        self.calls[candidate] += 1

    def rate(self, *, candidate: bool) -> float:
        return self.bad[candidate] / max(1, self.calls[candidate])


class Peeked(Rival):
    """Half of the traffic each; a two-sided test of two proportions for a fixed sample, looked at
    after every call: p < .05 decides."""

    name = "p < .05, looked at after every request"
    because = "p < .05"
    first_bp = FULL_BP // 2
    _CRITICAL: Final = 1.959964

    def __init__(self, salt: str) -> None:
        super().__init__(salt)
        self._counts = _Counts()

    def _see(self, call: Call, *, candidate: bool) -> Verdict | None:
        self._counts.add(call, candidate=candidate)
        own, other = self._counts.calls[True], self._counts.calls[False]
        if not own or not other:
            return None
        pooled = sum(self._counts.bad) / (own + other)
        deviation = math.sqrt(pooled * (1.0 - pooled) * (1.0 / own + 1.0 / other))
        gap = self._counts.rate(candidate=True) - self._counts.rate(candidate=False)
        if deviation == 0.0 or abs(gap) <= self._CRITICAL * deviation:
            return None
        return Verdict.ROLLED_BACK if gap > 0 else Verdict.PROMOTED


class ThresholdGate(Rival):
    """Every 200 calls the candidate's success of that window must not lie more than 5 points below
    the incumbent's. A pass is a step; the fourth failure rolls back."""

    name = "threshold gate"
    because = "threshold"
    _SLACK: Final = 0.05
    _FAILURES: Final = 3

    def __init__(self, salt: str) -> None:
        super().__init__(salt)
        self._step = 0
        self._failures = 0
        self._window = _Counts()

    def _see(self, call: Call, *, candidate: bool) -> Verdict | None:
        window = self._window
        window.add(call, candidate=candidate)
        if sum(window.calls) < EVERY:
            return None
        self._window = _Counts()
        if window.rate(candidate=True) > window.rate(candidate=False) + self._SLACK:
            self._failures += 1
            return Verdict.ROLLED_BACK if self._failures > self._FAILURES else None
        self._step += 1
        self.route.weight_bp = STEPS_BP[self._step]
        return Verdict.PROMOTED if self.route.weight_bp == FULL_BP else None


class PointEstimate(Rival):
    """Ready means a better average than the incumbent over more than 100 calls of the candidate;
    who is ready takes a step, who is not goes to 0 %, from where no calls lead back.

    Looked at every 200 calls, once there are 100 calls to look at; started at 10 % by hand.
    """

    name = "better average so far"
    because = "not ready"
    _FEWEST: Final = 100

    def __init__(self, salt: str) -> None:
        super().__init__(salt)
        self._step = 0
        self._counts = _Counts()

    def _see(self, call: Call, *, candidate: bool) -> Verdict | None:
        counts = self._counts
        counts.add(call, candidate=candidate)
        if sum(counts.calls) % EVERY or counts.calls[True] <= self._FEWEST:
            return None
        if counts.rate(candidate=True) >= counts.rate(candidate=False):
            return Verdict.ROLLED_BACK
        self._step += 1
        self.route.weight_bp = STEPS_BP[self._step]
        return Verdict.PROMOTED if self.route.weight_bp == FULL_BP else None


RIVALS: Final[tuple[type[Rival], ...]] = (Peeked, ThresholdGate, PointEstimate)
