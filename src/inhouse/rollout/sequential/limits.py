"""A certificate that the candidate keeps an absolute limit, whatever the incumbent does."""

from __future__ import annotations

from operator import mul
from typing import Final

from inhouse.rollout.sequential.running import CEILING

_HOPES: Final = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The rates that the bets hope for, in units of the limit."""


class Limit:
    """Evidence that the candidate's mean of Z is below ``limit``, a number in (0, 1).

    Where it is really the limit or more, P(evidence >= 1/a at any time) <= a.
    """

    __slots__ = ("_stakes", "_total", "_wealth", "count", "limit")

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.count = 0
        self._total = 0.0
        self._stakes = [(1.0 - hope) / (1.0 - limit) for hope in _HOPES]
        self._wealth = [1.0] * len(_HOPES)

    @property
    def evidence(self) -> float:
        return sum(self._wealth) / len(self._wealth)

    @property
    def estimate(self) -> float:
        """The mean of Z so far; 0 before the first outcome."""
        return self._total / self.count if self.count else 0.0

    def add(self, bad: float) -> None:
        """One outcome of the candidate."""
        self.count += 1
        self._total += bad
        gain = self.limit - bad
        grown = [1.0 + stake * gain for stake in self._stakes]
        self._wealth = wealth = list(map(mul, self._wealth, grown))
        if max(wealth) > CEILING:
            self._wealth = [min(one, CEILING) for one in wealth]
