"""Do units fall to the arms as the weights say?"""

from __future__ import annotations

from operator import mul
from typing import Final

from inhouse.rollout.sequential.running import CEILING

TILTS: Final = (0.5, 0.67, 0.8, 0.9, 1.11, 1.25, 1.5, 2.0)
"""How far the split may be off, as odds: the alternatives."""
SHARES: Final = (0.04, 0.10, 0.26, 0.10, 0.10, 0.26, 0.10, 0.04)
"""Of the money, what is bet on each: most on one call in ten that goes astray."""


class Mismatch:
    """Evidence that something loses or moves calls of one arm, so that no comparison of the arms
    can be trusted. P(evidence >= 1/a at any time) <= a while nothing does."""

    __slots__ = ("_shares", "_values", "_weight", "evidence")

    def __init__(self) -> None:
        self._values = list(SHARES)
        self._weight = 0.0
        self._shares: tuple[list[float], list[float]] = ([], [])
        self.evidence = 1.0

    def add(self, *, candidate: bool, weight: float) -> None:
        """One assignment; nothing is learned at a weight outside (0, 1)."""
        if not 0.0 < weight < 1.0:
            return
        if weight != self._weight:
            self._weight = weight
            odds = [weight * tilt + 1.0 - weight for tilt in TILTS]
            self._shares = (
                [1.0 / total for total in odds],
                [tilt / total for tilt, total in zip(TILTS, odds, strict=True)],
            )
        self._values = values = list(map(mul, self._values, self._shares[candidate]))
        self.evidence = sum(values)
        if self.evidence > CEILING:
            self._values = [min(value, CEILING) for value in values]
