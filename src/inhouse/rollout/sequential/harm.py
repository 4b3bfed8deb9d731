"""Evidence that the candidate is worse than the incumbent, since the start or since any moment."""

from __future__ import annotations

from typing import Final, Protocol

from inhouse.rollout.sequential.running import CAREFUL, CEILING, Running

RATIOS: Final = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times more often the candidate fails: the alternatives that ``Harm`` bets on."""
EFFECTS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64)
"""How much worse, in units of Z: the alternatives that ``BoundedHarm`` bets on."""
_MOST_CERTAIN: Final = 0.995


class HarmTest(Protocol):
    """What the two tests of harm have in common.

    ``evidence`` is the e-value since the start, ``restarted`` the Shiryaev-Roberts sum, which
    forgets a good past. Where the arms share their mean of Z, even one that changes with every
    outcome, or the candidate's is lower: P(evidence >= 1/a at any time) <= a, the mean of
    ``restarted`` is at most the number of outcomes, and P(restarted >= H/a within H outcomes) <= a.
    """

    @property
    def evidence(self) -> float: ...

    @property
    def restarted(self) -> float: ...

    def add(self, *, candidate: bool, weight: float, bad: float) -> None:
        """One outcome. At a ``weight`` outside (0, 1) there is nobody to compare with, and nothing
        is learned."""
        ...


class _Mixture:
    """Wealth of several bets side by side, and the sums that restart with every outcome."""

    __slots__ = ("_restarts", "_values", "evidence", "restarted")

    def __init__(self, bets: int) -> None:
        self._values = [1.0] * bets
        self._restarts = [0.0] * bets
        self.evidence = 1.0
        self.restarted = 0.0

    def multiply(self, factors: list[float]) -> None:
        self._values = values = [v * f for v, f in zip(self._values, factors, strict=True)]
        self._restarts = sums = [
            (s + 1.0) * f for s, f in zip(self._restarts, factors, strict=True)
        ]
        self.evidence = sum(values) / len(values)
        self.restarted = sum(sums) / len(sums)
        if self.evidence > CEILING or self.restarted > CEILING:
            self._values = [min(v, CEILING) for v in values]
            self._restarts = [min(s, CEILING) for s in sums]


class Harm(_Mixture):
    """Harm in a rate: success, correctness, a latency over its threshold. See ``HarmTest``.

    Each bet holds a rate for the candidate and one for the incumbent that are a ratio apart and
    average to the rate seen so far; its factor is the likelihood of the outcome under them over
    that under the common rate. Written as 1 + (Z - rate) x lift, it is fair for any Z in [0, 1].
    """

    __slots__ = ("_seen", "_shapes", "_weight")

    def __init__(self) -> None:
        super().__init__(len(RATIOS))
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
            self.multiply([1.0 + lift * (min(room, s)) for s in self._shapes])
        seen.add(bad)


class BoundedHarm(_Mixture):
    """Harm in a degree: the error of a score, a user's mean. See ``HarmTest``.

    It bets on the difference of the means, with stakes that fit the variance seen so far.
    """

    __slots__ = ("_seen",)

    def __init__(self) -> None:
        super().__init__(len(EFFECTS))
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
