"""Amounts of the last 60 seconds.

Amounts are counted in steps of 0.25 s, each from its beginning. Any 60 seconds overlap at most 241
steps, so whoever keeps the sum of 241 steps in a row within a limit keeps every 60 seconds within
it: there is no moment with more than the limit. The price is that an amount counts for up to
60.25 s, 0.4 % longer than it should. A counter of two whole minutes is smaller, but its estimate
admits up to nearly twice the limit in a minute (all at the end of one, all over the next), and so
does a leaky bucket (GCRA, ITU-T I.371) with a burst of the whole limit.
"""

from __future__ import annotations

from collections import deque
from typing import Final

SPAN_S: Final = 60.0
STEPS_PER_S: Final = 4
_STEPS: Final = int(SPAN_S) * STEPS_PER_S + 1
_INSIDE_S: Final = 1e-6
"""Past the beginning of a step, whatever the rounding."""


class Window:
    """A sliding window of amounts. Times are seconds of one clock that never jumps back.

    ``wait`` and ``add`` belong to one thread; ``used`` may be called from any.
    """

    __slots__ = ("_steps", "_sum")

    def __init__(self) -> None:
        self._steps: deque[list[int]] = deque()
        self._sum = 0

    def used(self, now: float) -> int:
        """What counts at a time, reservations included."""
        gone = int(now * STEPS_PER_S) - _STEPS
        return sum(amount for step, amount in tuple(self._steps) if step > gone)

    def wait(self, now: float, limit: float) -> float:
        """Seconds until 1 more fits under a limit of at least 1; never before what is reserved."""
        steps, here = self._steps, int(now * STEPS_PER_S)
        while steps and steps[0][0] <= here - _STEPS:
            self._sum -= steps.popleft()[1]
        if self._sum < limit and (not steps or steps[-1][0] <= here):
            return 0.0
        slot, over = max(here, steps[-1][0]), self._sum + 1 - limit
        for step, amount in steps:
            if over <= 0:
                break
            over -= amount
            slot = max(slot, step + _STEPS)
        return slot / STEPS_PER_S - now + _INSIDE_S

    def add(self, at: float, amount: int) -> None:
        """Count an amount at a time: now, or one that ``wait`` told. What comes later than a
        reservation counts with it."""
        steps, step = self._steps, int(at * STEPS_PER_S)
        if steps and steps[-1][0] >= step:
            steps[-1][1] += amount
        else:
            steps.append([step, amount])
        self._sum += amount
