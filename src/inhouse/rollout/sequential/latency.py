"""A duration becomes an outcome: is it over a quantile of the incumbent's last ones?"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from typing import Final

WINDOW: Final = 2000
FEWEST: Final = 40


class Latencies:
    """The incumbent's last ``WINDOW`` latencies. Ask for the outcome before adding the latency:
    the threshold must stand before the duration that is compared with it."""

    __slots__ = ("_ordered", "_recent")

    def __init__(self) -> None:
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []

    def over(self, quantile: float, latency: float) -> float | None:
        """1.0 over the quantile, 0.0 up to it; None while fewer than ``FEWEST`` are known."""
        known = len(self._ordered)
        if known < FEWEST:
            return None
        return 1.0 if latency > self._ordered[math.ceil(quantile * known) - 1] else 0.0

    def add(self, latency: float) -> None:
        """One latency of the incumbent."""
        if len(self._recent) == WINDOW:
            del self._ordered[bisect_left(self._ordered, self._recent.popleft())]
        self._recent.append(latency)
        insort(self._ordered, latency)
