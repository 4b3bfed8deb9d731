"""Models are opened before calls need them, beside whoever looks for what is needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, wait
from typing import Final

from inhouse.core.clock import Clock
from inhouse.gateway.opening import Opening

MOST_S: Final = 30.0
"""How long one waits for a model that is being opened before calls are sent to it all the same."""


class Warming:
    """Opens every reference once. Whatever it dies of, and whether it ever ends, is left to calls.

    For one thread at a time, but for ``wait``.
    """

    def __init__(self, warm: Callable[[str], object], clock: Clock) -> None:
        self._opening = Opening(warm)
        self._clock = clock
        self._begun: dict[str, tuple[float, Future[object]]] = {}

    def cold(self, references: Iterable[str]) -> list[str]:
        """Those that one still has to wait for; begins to open what is new. Returns at once."""
        return [reference for reference in references if self._is_cold(reference)]

    def wait(self, references: Iterable[str]) -> None:
        """Return when those that were begun have ended, or ``MOST_S`` after the last of them
        began."""
        begun = [found for one in references if (found := self._begun.get(one)) is not None]
        if begun:
            left = max(at for at, _ in begun) + MOST_S - self._clock.monotonic()
            wait([future for _, future in begun], timeout=max(0.0, left))

    def _is_cold(self, reference: str) -> bool:
        now = self._clock.monotonic()
        if reference not in self._begun:
            self._begun[reference] = (now, self._opening.begin(reference))
        at, future = self._begun[reference]
        return not future.done() and now - at < MOST_S
