"""Intervals and paired tests. Pure: the source of randomness is passed in.

Intervals are percentile bootstraps over the items of the split (Efron 1979), 95 %. Paired
differences resample items, so that both references meet the same texts. Exact McNemar is the
two-sided binomial test on the discordant items.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

RESAMPLES = 1000


class Choices(Protocol):
    """The one thing taken from a random generator (``random.Random`` has it)."""

    def choices(self, population: Sequence[int], *, k: int) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


def bootstrap(
    n: int, figure: Callable[[Sequence[int]], float], rng: Choices, resamples: int = RESAMPLES
) -> Interval:
    """Interval of a figure of ``n`` items; ``figure`` takes the indices of a resample."""
    everything = range(n)
    estimate = figure(everything)
    if n < 2:
        return Interval(estimate, estimate, estimate)
    drawn = sorted(figure(rng.choices(everything, k=n)) for _ in range(resamples))
    return Interval(estimate, quantile(drawn, 0.025), quantile(drawn, 0.975))


def mean_interval(scores: Sequence[float], rng: Choices) -> Interval:
    """Interval of the mean of item scores."""
    return bootstrap(len(scores), lambda rows: _mean(scores, rows), rng)


def paired_difference(candidate: Sequence[float], other: Sequence[float], rng: Choices) -> Interval:
    """Interval of mean(candidate) - mean(other) over the same items."""
    gaps = [a - b for a, b in zip(candidate, other, strict=True)]
    return mean_interval(gaps, rng)


def mcnemar_exact(candidate: Sequence[bool], other: Sequence[bool]) -> float:
    """Two-sided p-value of exact McNemar: are wins and losses on the same items equally likely?"""
    wins = sum(a and not b for a, b in zip(candidate, other, strict=True))
    losses = sum(b and not a for a, b in zip(candidate, other, strict=True))
    n, k = wins + losses, min(wins, losses)
    tail = sum(math.comb(n, i) for i in range(k + 1)) / (1 << n)
    return min(1.0, 2 * tail)


def quantile(ordered: Sequence[float], q: float) -> float:
    """Quantile of ascending values by linear interpolation (Hyndman and Fan's type 7)."""
    place = q * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    low: float = ordered[below]
    high: float = ordered[above]
    return low + (place - below) * (high - low)


def _mean(values: Sequence[float], rows: Sequence[int]) -> float:
    return math.fsum([values[row] for row in rows]) / len(rows) if rows else 0.0
