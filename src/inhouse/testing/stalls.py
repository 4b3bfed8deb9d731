"""How busy the machine is that a test runs on."""

from __future__ import annotations

import threading
import time


class Stalls:
    """The longest time for which this machine did not let a thread run that wanted to, in seconds:
    what a test adds to a time that the product promises. Ticks until ``stop``."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._tick)
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._ending.set()
        self._thread.join()

    def _tick(self) -> None:
        before = time.monotonic()
        while not self._ending.wait(0.001):
            now = time.monotonic()
            self.longest = max(self.longest, now - before - 0.001)
            before = now
