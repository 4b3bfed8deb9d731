"""Evidence that the candidate is worse than the incumbent, since the start or since any moment."""

from __future__ import annotations

import math
from functools import lru_cache
from operator import mul
from typing import Final, Protocol

from inhouse.rollout.sequential.running import CAREFUL, CEILING, Running

RATIOS: Final = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times more often the candidate fails: the alternatives that ``Harm`` bets on."""
EFFECTS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""How much worse, in units of Z: the alternatives that ``BoundedHarm`` bets on."""
FRESH_SHARE: Final = 0.6
"""Part of the evidence that is for harm that began later; the rest is for harm since the start."""
_SUDDEN_RATIOS: Final = (3, 5)
_SUDDEN_EFFECTS: Final = (3, 5)
_MOST_CERTAIN: Final = 0.995
_ADDED_UP: Final = 1_000_000
_EULER: Final = 0.5772156649015329
"""1 + 1/2 + ... + 1/n is ln n + this + 1/(2n), but for less than 1/n squared; a sum of a billion
would take half a minute."""


class HarmTest(Protocol):
    """What the two tests of harm have in common.

    ``evidence`` is one e-value: bets placed at the start, and bets on larger effects placed before
    every later outcome, for harm that follows a good past. ``fresh`` is the part of the latter,
    ``usual`` its mean where there is no harm. Where the arms share their mean of Z, even one that
    changes with every outcome, or the candidate's is lower, P(evidence >= 1/a at any of ``horizon``
    outcomes) <= a.
    """

    @property
    def evidence(self) -> float: ...

    @property
    def fresh(self) -> float: ...

    @property
    def usual(self) -> float: ...

    def add(self, *, candidate: bool, weight: float, bad: float) -> None:
        """One outcome. At a ``weight`` outside (0, 1) there is nobody to compare with, and nothing
        is learned."""
        ...


class _Mixture:
    """Wealth of several bets side by side, and of some that begin anew with every outcome.

    The k-th new beginning has a share of the money that falls with 1/k and sums to one over the
    horizon (Shiryaev and Roberts give every one the same). So a break after 800 outcomes needs less
    to be told than one after 8,000. With the money not yet placed the whole is one e-value.
    """

    __slots__ = (
        "_all",
        "_begun",
        "_horizon",
        "_late",
        "_sudden",
        "_values",
        "evidence",
        "fresh",
        "usual",
    )

    def __init__(self, bets: int, sudden: tuple[int, int], horizon: int) -> None:
        self._values = [1.0] * bets
        self._late = (0.0, 0.0)
        self._sudden = sudden
        self._horizon = horizon
        self._begun = 0
        self._all = _harmonic(horizon)
        self.evidence = 1.0
        self.fresh = 0.0
        self.usual = 0.0

    def multiply(self, factors: list[float]) -> None:
        share = 1.0 / ((self._begun % self._horizon + 1) * self._all)
        self._begun += 1
        self.usual += share
        self._values = values = list(map(mul, self._values, factors))
        (first, second), (one, other) = self._sudden, self._late
        one, other = (one + share) * factors[first], (other + share) * factors[second]
        self._late = (one, other)
        self.fresh = fresh = (one + other) / 2
        steady = sum(values) / len(values)
        unspent = 1.0 - self.usual
        if unspent < 0.0:
            unspent = 0.0
        self.evidence = (1.0 - FRESH_SHARE) * steady + FRESH_SHARE * (fresh + unspent)
        if self.evidence > CEILING:
            self._values = [min(v, CEILING) for v in values]
            self._late = (min(one, CEILING), min(other, CEILING))


class Harm(_Mixture):
    """Harm in a rate: success, correctness, a latency over its threshold. See ``HarmTest``.

    Each bet holds a rate for the candidate and one for the incumbent that are a ratio apart and
    average to the rate seen so far; its factor is the likelihood of the outcome under them over
    that under the common rate. Written as 1 + (Z - rate) x lift, it is fair for any Z in [0, 1].
    """

    __slots__ = ("_seen", "_shapes", "_weight")

    def __init__(self, horizon: int) -> None:
        super().__init__(len(RATIOS), _SUDDEN_RATIOS, horizon)
        self._seen = Running()
        self._weight = 0.0
        self._shapes: list[float] = []

    def add(self, *, candidate: bool, weight: float, bad: float) -> None:
        if not 0.0 < weight < 1.0:
            return
        seen = self._seen
        rate, rest = seen.rate, 1.0 - weight
        if weight != self._weight:
            self._weight = weight
            self._shapes = [(r - 1.0) * rest / (rest + weight * r) for r in RATIOS]
        room = _MOST_CERTAIN - rate
        if room > 0.0:
            lift = (bad - rate) / (1.0 - rate)
            if not candidate:
                lift *= -weight / rest
            room /= rate
            shapes = self._shapes
            if shapes[-1] > room:
                shapes = [min(room, s) for s in shapes]
            self.multiply([1.0 + lift * s for s in shapes])
        seen.add(bad)


class BoundedHarm(_Mixture):
    """Harm in a degree: the error of a score, a user's mean. See ``HarmTest``.

    It bets on the difference of the means, with stakes that fit the variance seen so far.
    """

    __slots__ = ("_seen",)

    def __init__(self, horizon: int) -> None:
        super().__init__(len(EFFECTS), _SUDDEN_EFFECTS, horizon)
        self._seen = Running()

    def add(self, *, candidate: bool, weight: float, bad: float) -> None:
        if not 0.0 < weight < 1.0:
            return
        seen = self._seen
        rate, rest = seen.rate, 1.0 - weight
        gain = (bad - rate) / weight if candidate else (rate - bad) / rest
        most = CAREFUL / max(rate / weight, (1.0 - rate) / rest)
        variance = seen.spread * (1.0 / weight + 1.0 / rest)
        stakes = [effect / (variance + effect * effect) for effect in EFFECTS]
        self.multiply([1.0 + (min(most, s)) * gain for s in stakes])
        seen.add(bad)


@lru_cache(maxsize=16)
def _harmonic(count: int) -> float:
    if count <= _ADDED_UP:
        return sum(1.0 / k for k in range(1, count + 1))
    return math.log(count) + _EULER + 0.5 / count
