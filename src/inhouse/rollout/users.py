"""One outcome per user: where all calls of a user meet the same arm, they are no independent
observations, and counting each of them rolls back equal models. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

CALLS: Final = 5


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
    """Calls go in; each user leaves once, with the mean of the first ``calls``.

    A change of the weight closes everybody who has begun, in both arms alike and in their order of
    arrival, because it moves some of them to the other arm.
    """

    __slots__ = ("_calls", "_counted", "_open", "_weight")

    def __init__(self, calls: int = CALLS) -> None:
        self._calls = calls
        self._counted: set[str] = set()
        self._open: dict[str, _Open] = {}
        self._weight = -1.0

    def add(self, unit: str, *, candidate: bool, weight: float, bad: float) -> list[UserMean]:
        """One call of a user; the users who are complete by now."""
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
            closed.append(self._open.pop(unit).mean())
            self._counted.add(unit)
        return closed
