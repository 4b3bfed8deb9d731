"""Copies of small tables in memory, so that no call waits for the database.

A copy is immutable and replaced as a whole. One thread looks for changes every 0.25 s; whoever has
just written calls ``refresh`` and need not wait for it. A database that does not answer leaves the
last copy in place, marked stale; the log says when that begins and when it is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from inhouse.core.clock import Clock, SystemClock
from inhouse.core.errors import InhouseError
from inhouse.core.log import Log
from inhouse.db.unit import Database, ReadUnit
from inhouse.gateway import metrics

EVERY_S: Final = 0.25
_log = Log("inhouse")
T = TypeVar("T")


class Mirror(Generic[T]):
    """The last copy of something in the database.

    ``value`` is safe to read from any thread, and the same object until something changes.
    ``stale`` says that the last look failed. ``name`` is the label of its metric.
    """

    def __init__(
        self,
        database: Database,
        load: Callable[[ReadUnit], T],
        *,
        name: str,
        initial: T,
        clock: Clock | None = None,
    ) -> None:
        self._database = database
        self._load = load
        self._lock = threading.Lock()
        self._name = name
        self._stale_gauge = metrics.STALE.labels(name)
        self._clock = clock or SystemClock()
        self._looked_at = self._clock.monotonic()
        self.value = initial
        self.stale = False

    def refresh(self) -> None:
        """Read the database now. Raises what the database raises, and keeps the last copy then."""
        with self._lock, self._database.read() as unit:
            fresh = self._load(unit)
            if fresh != self.value:
                self.value = fresh
        self._looked_at = self._clock.monotonic()
        self._mark("")

    def age_s(self) -> float:
        """Seconds since the database was read last. May be asked from any thread."""
        return max(0.0, self._clock.monotonic() - self._looked_at)

    def poll(self) -> None:
        """``refresh`` that only marks the copy as stale when the database does not answer."""
        try:
            self.refresh()
        except (InhouseError, SQLAlchemyError, ValueError) as error:
            self._mark(f"{type(error).__name__}: {error}")

    def _mark(self, reason: str) -> None:
        """Stale for a reason, or ("") not."""
        was, self.stale = self.stale, bool(reason)
        self._stale_gauge.set(self.stale)
        if self.stale and not was:
            _log.error("cut off from the database", kept=self._name, reason=reason)
        elif was and not self.stale:
            _log.info("the database answers again", read=self._name)


class Poller:
    """Polls mirrors in one thread of its own."""

    def __init__(self, mirrors: Sequence[Mirror[Any]], *, every_s: float = EVERY_S) -> None:
        self._mirrors = mirrors
        self._every_s = every_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirrors", daemon=True)

    def start(self) -> None:
        """Start the thread. A poller is started once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the look that it may be busy with."""
        self._stopping.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._stopping.wait(self._every_s):
            for mirror in self._mirrors:
                mirror.poll()
