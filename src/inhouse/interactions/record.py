"""The hot write: calls are answered first and committed in batches by one thread.

At most 50 ms of traffic is at risk when the process is killed: a row waits at most 20 ms for its
batch, and then for one commit. A database that does not answer costs no row either: the batch stays
and is tried again, until the queue is full and new calls are refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, StatementError

from inhouse.core.clock import Clock
from inhouse.core.errors import Unavailable
from inhouse.db.dialects import insert_ignore
from inhouse.db.unit import Database, WriteUnit
from inhouse.interactions import metrics
from inhouse.interactions.tables import Interaction

WINDOW_S: Final = 0.02
BATCH_ROWS: Final = 512
QUEUE_ROWS: Final = 50_000
_FIRST_PAUSE_S: Final = 0.05
_LAST_PAUSE_S: Final = 1.0


class Status(StrEnum):
    """How a call ended. ``flagged``: the caller got the task's ``on_failure`` value. ``cancelled``:
    the caller hung up."""

    ANSWERED = "answered"
    FLAGGED = "flagged"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class Spending:
    """What the tries of one call at one upstream used up; ``tries`` is at least 1."""

    upstream: str
    tries: int
    tokens: int
    cost: float


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionRecord:
    """One call, as the columns of ``interactions.tables.Interaction``; they say what each means.

    ``spendings`` is no column: it is added to the table ``Spent`` in the same transaction.
    """

    id: str
    created_at: datetime
    status: str
    input: Any
    latency_ms: float
    task: str | None = None
    task_revision: str | None = None
    error_code: str | None = None
    output: Any | None = None
    raw: str | None = None
    probabilities: Any | None = None
    reference: str | None = None
    hosting: str | None = None
    arm: str | None = None
    route_revision: int | None = None
    weight_bp: int | None = None
    rescued: bool = False
    unit: str | None = None
    subject: str | None = None
    tags: Any | None = None
    attempts: Any | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    key_id: str | None = None
    spendings: tuple[Spending, ...] = ()


_NAMES: Final = tuple(
    field.name for field in fields(InteractionRecord) if field.name != "spendings"
)
_values_of = attrgetter(*_NAMES)


def insert(unit: WriteUnit, records: Sequence[InteractionRecord]) -> None:
    """Insert interactions; one whose id is there already is left as it is, so that a batch whose
    commit was never acknowledged can be written again."""
    rows = [dict(zip(_NAMES, _values_of(record), strict=True)) for record in records]
    unit.execute(insert_ignore(unit, Interaction), rows)


class Recorder:
    """Commits records in batches, in a thread of its own.

    ``start`` once; ``put`` from any thread or event loop; ``stop`` drains. ``on_error`` hears every
    failed commit, and every record that the database can never take, in the recorder's thread.
    ``queue_rows`` bounds what may wait.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        on_error: Callable[[Exception], None] | None = None,
        queue_rows: int = QUEUE_ROWS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._on_error = on_error
        self._queue_rows = queue_rows
        self._waiting: deque[InteractionRecord] = deque()
        lock = threading.Lock()
        self._wake = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._accepted = 0
        self._finished = 0
        self._hurry_to = 0
        self._stopping = False
        self._taken_at = clock.monotonic() - WINDOW_S
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        metrics.QUEUE.set_function(self.depth)

    def start(self) -> None:
        """Start the thread. A recorder is started once."""
        self._thread.start()

    def depth(self) -> int:
        """Records accepted and not yet committed."""
        return self._accepted - self._finished

    def admit(self) -> None:
        """Raise Unavailable (code ``record-failed``) when a record would be refused now: a call
        that cannot be recorded is better refused before a model is paid for it."""
        if self._stopping or self.depth() >= self._queue_rows:
            metrics.REFUSED.inc()
            raise Unavailable(
                "the call cannot be recorded",
                code="record-failed",
                hint="the database does not take what is recorded; see its log and disk space",
            )

    def put(self, record: InteractionRecord) -> None:
        """Take a record; it is committed within 50 ms while the database answers.

        Raises Unavailable (code ``record-failed``) when the queue is full or the recorder stops.
        """
        with self._wake:
            self.admit()
            self._waiting.append(record)
            self._accepted += 1
            if len(self._waiting) in (1, BATCH_ROWS):
                self._wake.notify()

    def flush(self, timeout: float = 10.0) -> None:
        """Wait until everything put so far is settled.

        Raises Unavailable (code ``record-failed``) when that takes more than ``timeout`` seconds.
        """
        with self._wake:
            target = self._hurry_to = self._accepted
            self._wake.notify()
            if not self._settled.wait_for(lambda: self._finished >= target, timeout):
                raise Unavailable(
                    f"{target - self._finished} interactions are not recorded after {timeout:g} s",
                    code="record-failed",
                )

    def stop(self, timeout: float = 10.0) -> None:
        """Take no more, commit what waits, end the thread; may be called twice.

        Raises Unavailable (code ``record-failed``) when the database does not take the rest within
        ``timeout`` seconds.
        """
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self.flush(timeout)
        self._thread.join(timeout)

    def _work(self) -> None:
        while batch := self._next_batch():
            self._commit(batch)
            with self._wake:
                self._finished += len(batch)
                self._settled.notify_all()

    def _next_batch(self) -> list[InteractionRecord]:
        """The next rows to commit; none when the recorder stops and nothing waits."""
        with self._wake:
            self._wake.wait_for(lambda: self._waiting or self._stopping)
            open_for = WINDOW_S - (self._clock.monotonic() - self._taken_at)
            if open_for > 0:
                self._wake.wait_for(self._is_urgent, open_for)
            self._taken_at = self._clock.monotonic()
            count = min(len(self._waiting), BATCH_ROWS)
            return [self._waiting.popleft() for _ in range(count)]

    def _is_urgent(self) -> bool:
        full = len(self._waiting) >= BATCH_ROWS
        return full or self._stopping or self._hurry_to > self._finished

    def _commit(self, batch: Sequence[InteractionRecord]) -> None:
        """Commit a batch, however long the database takes to answer."""
        pause = _FIRST_PAUSE_S
        while True:
            try:
                self._write(batch)
            except Exception as error:  # noqa: BLE001 the recorder thread outlives every error
                metrics.FAILURES.inc()
                self._report(error)
                if _is_the_rows_fault(error):
                    return self._commit_singly(batch)
                time.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE_S)
            else:
                return None

    def _write(self, batch: Sequence[InteractionRecord]) -> None:
        started = self._clock.monotonic()
        with self._database.write() as unit:
            insert(unit, batch)
        metrics.COMMIT_SECONDS.observe(self._clock.monotonic() - started)
        metrics.RECORDS.inc(len(batch))

    def _commit_singly(self, batch: Sequence[InteractionRecord]) -> None:
        """One bad row must not hold up the others: each gets its own transaction."""
        if len(batch) == 1:
            metrics.LOST.inc()
            return
        for record in batch:
            self._commit([record])

    def _report(self, error: Exception) -> None:
        if self._on_error is not None:
            self._on_error(error)


def _is_the_rows_fault(error: Exception) -> bool:
    """Whether the values cannot be stored at all, by this or any later try."""
    if isinstance(error, DBAPIError):
        return isinstance(error, DataError | IntegrityError)
    return isinstance(error, StatementError | ValueError | TypeError | OverflowError)
