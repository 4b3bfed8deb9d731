"""Certificates that the candidate is not worse by more than a margin."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from inhouse.rollout.sequential.running import CAREFUL, Running

GREED: Final = (0.5, 1.0, 1.6)
"""Stakes of the bets, in units of the margin."""


class _Bets:
    """The wealth of the bets against one margin that is not yet certified."""

    __slots__ = ("aims", "margin", "wealth")

    def __init__(self, margin: float) -> None:
        self.margin = margin
        self.aims = [(margin * greed, (margin * greed) ** 2) for greed in GREED]
        self.wealth = [1.0] * len(GREED)

    def add(self, difference: float, variance: float, highest: float) -> float:
        """One difference of which ``highest`` is the largest possible; the value after it."""
        gain, most = self.margin - difference, highest - self.margin
        cap = CAREFUL / most if most > 0.0 else 1.0 / self.margin
        total, after = 0.0, []
        for wealth, (aim, square) in zip(self.wealth, self.aims, strict=True):
            stake = aim / (variance + square)
            grown = wealth * (1.0 + (min(cap, stake)) * gain)
            after.append(grown)
            total += grown
        self.wealth = after
        return total / len(after)


class Safety:
    """Certificates for several margins, each at ``level`` = 1/a.

    ``margins`` are differences of the mean of Z in (0, 1]. Where the candidate is really worse by a
    margin or more, that margin is ever certified with a probability of at most a. A certificate,
    once given, stays given: it speaks of the outcomes until then.
    """

    __slots__ = ("_best", "_open", "_seen", "certified", "level")

    def __init__(self, margins: Iterable[float], *, level: float) -> None:
        self.level = level
        self._best = {margin: 1.0 for margin in sorted(set(margins))}
        self._open = [_Bets(margin) for margin in self._best]
        self._seen = Running()
        self.certified = 1.0
        """The smallest margin that is certified; 1 when none is."""

    def best(self, margin: float) -> float:
        """The highest evidence that there ever was for "worse by less than the margin"; it is no
        longer followed once it has reached the level."""
        return self._best[margin]

    def add(self, *, candidate: bool, weight: float, bad: float) -> None:
        """One outcome in [0, 1]; nothing is learned at a weight outside (0, 1)."""
        if not 0.0 < weight < 1.0 or not self._open:
            return
        seen = self._seen
        rate, rest = seen.rate, 1.0 - weight
        difference = (bad - rate) / weight if candidate else (rate - bad) / rest
        highest = max((1.0 - rate) / weight, rate / rest)
        variance = seen.spread * (1.0 / weight + 1.0 / rest)
        certified = False
        for bets in self._open:
            value = bets.add(difference, variance, highest)
            if value > self._best[bets.margin]:
                self._best[bets.margin] = value
                certified = certified or value >= self.level
        if certified:
            self._open = [bets for bets in self._open if self._best[bets.margin] < self.level]
            self.certified = min(m for m, best in self._best.items() if best >= self.level)
        seen.add(bad)
