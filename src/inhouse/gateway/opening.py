"""Opening what references stand for: each in a thread of its own, so that one that hangs holds up
nobody but those who asked for it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Opening(Generic[T]):
    """Calls ``open_one`` beside its caller. May be used from any thread.

    At most one thread is busy with a reference, and none keeps the process from ending.
    """

    def __init__(self, open_one: Callable[[str], T]) -> None:
        self._open_one = open_one
        self._guard = threading.Lock()
        self._under_way: dict[str, Future[T]] = {}

    def begin(self, reference: str) -> Future[T]:
        """The opening that is under way, or else a new one. It ends with what ``open_one`` returns
        or raises, and nobody can cancel it."""
        with self._guard:
            found = self._under_way.get(reference)
            if found is None:
                found = self._under_way[reference] = Future()
                found.set_running_or_notify_cancel()
                work = (reference, found)
                threading.Thread(target=self._work, args=work, name="opening", daemon=True).start()
            return found

    def _work(self, reference: str, opened: Future[T]) -> None:
        try:
            value = self._open_one(reference)
        except BaseException as error:  # noqa: BLE001 whoever waits is told
            self._forget(reference)
            opened.set_exception(error)
        else:
            self._forget(reference)
            opened.set_result(value)

    def _forget(self, reference: str) -> None:
        with self._guard:
            del self._under_way[reference]
