"""Harm and safety where both arms answered the same input: a shadow."""

from __future__ import annotations

from typing import Final

from inhouse.rollout.sequential.running import CAREFUL, CEILING
from inhouse.rollout.sequential.safety import GREED

_SHARES: Final = (0.55, 0.6, 0.7, 0.8, 0.9, 0.97)
"""Of the inputs where one is good and the other bad: the candidate's share of the bad answers."""


class PairedHarm:
    """Evidence that the candidate is bad where the incumbent is not more often than the reverse, or
    by more.

    Only inputs on which the two differ teach anything (McNemar's pairs).
    """

    __slots__ = ("_values",)

    def __init__(self) -> None:
        self._values = [1.0] * len(_SHARES)

    @property
    def evidence(self) -> float:
        return sum(self._values) / len(self._values)

    def add(self, *, candidate_bad: float, incumbent_bad: float) -> None:
        """One input: Z of both, in [0, 1]."""
        difference = candidate_bad - incumbent_bad
        if not difference:
            return
        factors = [1.0 + (2.0 * share - 1.0) * difference for share in _SHARES]
        pairs = zip(self._values, factors, strict=True)
        self._values = [min(value * factor, CEILING) for value, factor in pairs]


class PairedSafety:
    """A certificate that the candidate is not worse by ``margin``, a number in (0, 1)."""

    __slots__ = ("_count", "_differing", "_wealth", "best", "margin")

    def __init__(self, margin: float) -> None:
        self.margin = margin
        self.best = 1.0
        self._count = 0
        self._differing = 0.0
        self._wealth = [1.0] * len(GREED)

    def add(self, *, candidate_bad: float, incumbent_bad: float) -> None:
        """One input: Z of both, in [0, 1]."""
        difference = candidate_bad - incumbent_bad
        variance = (self._differing + 1.0) / (self._count + 10.0)
        self._count += 1
        self._differing += difference * difference
        cap = CAREFUL / (1.0 - self.margin)
        for place, greed in enumerate(GREED):
            aim = self.margin * greed
            stake = min(aim / (variance + aim * aim), cap)
            grown = self._wealth[place] * (1.0 + stake * (self.margin - difference))
            self._wealth[place] = min(grown, CEILING)
        self.best = max(self.best, sum(self._wealth) / len(self._wealth))
