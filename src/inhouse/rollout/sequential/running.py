"""What both arms showed so far: the knowledge that a bet may use."""

from __future__ import annotations

from typing import Final

CEILING: Final = 1e200
"""Evidence is kept below this, so that it never becomes infinite; it has long decided by then."""
CAREFUL: Final = 0.9
"""The largest part of its wealth that a bet may lose at once."""


class Running:
    """Mean and variance of Z over both arms, as they stood before the next outcome."""

    __slots__ = ("_bad", "_squares", "count", "rate")

    def __init__(self) -> None:
        self.count = 0
        self._bad = 0.5
        self._squares = 0.0
        self.rate = 0.5

    @property
    def spread(self) -> float:
        """The variance; that of a 0/1 outcome while little is known."""
        rate = self.rate
        return (self._squares + 4.0 * rate * (1.0 - rate)) / (self.count + 4.0)

    def add(self, bad: float) -> None:
        """Learn one outcome."""
        self._squares += (bad - self.rate) ** 2
        self.count += 1
        self._bad += bad
        self.rate = self._bad / (self.count + 1)
