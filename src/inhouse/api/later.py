"""An application that is loaded once the port is open, or by the first request that needs it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from inhouse.api.body import AsgiApp


class Later:
    """Makes an application once. Safe in any thread."""

    def __init__(self, make: Callable[[], AsgiApp]) -> None:
        self._make = make
        self._made: AsgiApp | None = None
        self._making = threading.Lock()

    def load(self) -> AsgiApp:
        """The application; who comes while it is made waits. Raises what ``make`` raises, and the
        next one tries again."""
        with self._making:
            if self._made is None:
                self._made = self._make()
            return self._made

    async def get(self) -> AsgiApp:
        """The same, without holding up the event loop."""
        if self._made is not None:
            return self._made
        return await asyncio.to_thread(self.load)
