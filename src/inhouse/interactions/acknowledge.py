"""Telling callers of an event loop that their rows are committed."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial

from inhouse.core.errors import Unavailable

Acknowledgement = asyncio.Future[None]


class Waiting:
    """The callers of one event loop that wait for a commit. For that loop's thread.

    ``give_up`` settles the future of a caller who waited for ``longest_s``.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        longest_s: float,
        give_up: Callable[[Acknowledgement], None],
    ) -> None:
        self._loop = loop
        self._longest_s = longest_s
        self._give_up = give_up
        self._callers: deque[tuple[float, Acknowledgement]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def expect(self) -> Acknowledgement:
        """A future for one more caller."""
        self._forget_settled()
        future = self._loop.create_future()
        self._callers.append((self._loop.time() + self._longest_s, future))
        if self._timer is None:
            self._timer = self._loop.call_later(self._longest_s, self._look)
        return future

    def _forget_settled(self) -> None:
        while self._callers and self._callers[0][1].done():
            self._callers.popleft()

    def _look(self) -> None:
        """Let those go who waited for too long, and come back for the next of the others."""
        self._timer = None
        while self._callers and self._callers[0][0] <= self._loop.time():
            future = self._callers.popleft()[1]
            if not future.done():
                self._give_up(future)
        self._forget_settled()
        if self._callers:
            self._timer = self._loop.call_at(self._callers[0][0], self._look)


def acknowledge(
    futures: Iterable[Acknowledgement], error: Callable[[], Unavailable] | None = None
) -> None:
    """Settle futures from any thread, in one call into each of their loops. ``error`` makes what
    each of the callers gets instead of an acknowledgement."""
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[Acknowledgement]] = defaultdict(list)
    for future in futures:
        by_loop[future.get_loop()].append(future)
    for loop, mine in by_loop.items():
        with suppress(RuntimeError):  # the loop is closed, and its callers with it
            loop.call_soon_threadsafe(partial(settle, mine, error))


def settle(
    futures: Iterable[Acknowledgement], error: Callable[[], Unavailable] | None = None
) -> None:
    """Settle futures of this thread's loop; those that are settled or cancelled stay so."""
    for future in futures:
        if future.done():
            continue
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error())
