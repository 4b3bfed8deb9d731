"""What a simulation must show, and whether it did. Pure.

Every bar is a share of runs that must not be exceeded: "median at most 60" is "at most half of the
runs take more than 60".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

_CERTAIN: Final = 0.001
_CONFIDENCE: Final = 0.01


class Verdict(StrEnum):
    """How a run ended."""

    PROMOTED = "promoted"
    ROLLED_BACK = "rolled back"
    HELD = "held"


class Run(NamedTuple):
    """One simulated rollout: its end, the check that decided, the requests until then, and how many
    of them the candidate answered."""

    verdict: Verdict
    because: str
    requests: int
    candidate: int


class Bar(NamedTuple):
    """At most ``most`` of the runs may be such that ``missed``. ``false``: it is a rate of mistakes
    that the mathematics bounds, so a full-size proof needs its upper limit below the bar."""

    words: str
    missed: Callable[[Run], bool]
    most: float
    false: bool = False


@dataclass(frozen=True, slots=True)
class BarResult:
    """A bar, and how many of the runs missed it.

    ``refuted``: an exact binomial test rejects "rate <= most" at 0.1 %. ``upper``: upper 99 %
    limit of the rate (Clopper and Pearson)."""

    words: str
    missed: int
    runs: int
    most: float
    false: bool
    refuted: bool
    upper: float

    @property
    def proven(self) -> bool:
        """A rate of mistakes has its upper limit at the bar or below; any other is observed to be
        at the bar or below. Where none is allowed, none was seen."""
        if self.false and self.most > 0.0:
            return self.upper <= self.most
        return self.missed <= self.most * self.runs


def measure(bar: Bar, runs: Sequence[Run]) -> BarResult:
    missed, n = sum(bar.missed(run) for run in runs), len(runs)
    refuted = at_least(missed, n, bar.most) < _CERTAIN
    return BarResult(bar.words, missed, n, bar.most, bar.false, refuted, upper_limit(missed, n))


def at_least(hits: int, n: int, rate: float) -> float:
    """P(X >= hits) of a binomial X."""
    if hits <= 0:
        return 1.0
    if rate <= 0.0:
        return 0.0
    return min(1.0, math.fsum(_mass(k, n, rate) for k in range(hits, n + 1)))


def upper_limit(hits: int, n: int) -> float:
    """The largest rate at which so few hits still have a chance of 1 %; 1 without runs."""
    if hits >= n:
        return 1.0
    low, high = hits / n, 1.0
    for _ in range(50):
        middle = (low + high) / 2.0
        few = 1.0 - at_least(hits + 1, n, middle)
        low, high = (middle, high) if few > _CONFIDENCE else (low, middle)
    return high


def _mass(k: int, n: int, rate: float) -> float:
    ways = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    rest = (n - k) * math.log1p(-rate) if n > k else 0.0
    return math.exp(ways + k * math.log(rate) + rest)
