"""One outcome per user: where all calls of a user meet the same arm, they are no independent
observations, and counting each of them rolls back equal models. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

CALLS: Final = 5
WAITING: Final = 100
"""Users that may have begun and not have ``CALLS`` calls yet."""


class UserMean(NamedTuple):
    """The mean of Z over the first calls of one user, who counts once in a rollout."""

    candidate: bool
    weight: float
    bad: float


class _Open:
    __slots__ = ("bad", "calls", "candidate", "weight")

    def __init__(self, candidate: bool, weight: float) -> None:
        self.candidate = candidate
        self.weight = weight
        self.bad = 0.0
        self.calls = 0

    def mean(self) -> UserMean:
        return UserMean(self.candidate, self.weight, self.bad / self.calls)


class UserMeans:
    """Calls go in; each user leaves once, with the mean of the first ``calls``, or of fewer when
    ``waiting`` others have come since and not left: whoever calls seldom would never be counted.

    A change of the weight closes everybody who has begun, in both arms alike and in their order of
    arrival, because it moves some of them to the other arm.
    """

    __slots__ = ("_calls", "_counted", "_open", "_waiting", "_weight")

    def __init__(self, calls: int = CALLS, waiting: int = WAITING) -> None:
        self._calls = calls
        self._waiting = waiting
        self._counted: set[str] = set()
        self._open: dict[str, _Open] = {}
        self._weight = -1.0

    def add(self, unit: str, *, candidate: bool, weight: float, bad: float) -> list[UserMean]:
        """One call of a user; the users who leave with it."""
        closed: list[UserMean] = []
        if weight != self._weight:
            closed = [user.mean() for user in self._open.values()]
            self._counted.update(self._open)
            self._open.clear()
            self._weight = weight
        if unit in self._counted:
            return closed
        user = self._open.get(unit)
        if user is None:
            user = self._open[unit] = _Open(candidate, weight)
        user.bad += bad
        user.calls += 1
        if user.calls == self._calls:
            closed.append(self._close(unit))
        elif len(self._open) > self._waiting:
            closed.append(self._close(next(iter(self._open))))
        return closed

    def _close(self, unit: str) -> UserMean:
        self._counted.add(unit)
        return self._open.pop(unit).mean()
