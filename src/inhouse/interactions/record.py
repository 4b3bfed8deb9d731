"""The hot write: calls are committed in batches by one thread.

``fast``: calls are answered first. At most 50 ms of traffic is at risk when the process is killed:
a row waits at most 20 ms for its batch, and then for one commit. ``durable``: calls are answered
after a commit that reached the disk; what comes while one commit runs is the next one's batch.

A database that does not answer costs no row either: the batch stays and is tried again, until the
queue is full. What happens to calls meanwhile is ``on_record_failure``.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Literal

from inhouse.core.clock import Clock
from inhouse.core.errors import Unavailable
from inhouse.db.unit import Database
from inhouse.interactions import metrics
from inhouse.interactions.acknowledge import Acknowledgement, Waiting, acknowledge, settle
from inhouse.interactions.commit import Committer
from inhouse.interactions.content import EVERYTHING, Content
from inhouse.interactions.entry import InteractionRecord, Spending, Status
from inhouse.interactions.insert import insert

__all__ = ["InteractionRecord", "Recorder", "Spending", "Status", "insert"]

WINDOW_S: Final = 0.02
BATCH_ROWS: Final = 512
QUEUE_ROWS: Final = 50_000
CONFIRM_S: Final = 5.0
FAILING_S: Final = 2.0
_TELL_EVERY_S: Final = 1.0


class Recorder:
    """Commits records in batches, in a thread of its own.

    ``start`` once; ``put`` from any thread or event loop; ``stop`` drains. ``process_id`` names
    this process in the table ``Spent``; ``content`` is what is kept of inputs and outputs.
    ``on_error`` hears every failed commit, every record that the database can never take, and, at
    most once a second, that calls go unrecorded; it is called in any thread. ``queue_rows`` bounds
    what may wait.

    While commits fail, ``on_record_failure`` says what becomes of calls. ``refuse``: ``admit``
    raises once they have failed for 2 s or the queue is full, and a durable caller gets Unavailable
    after 5 s. ``answer``: ``admit`` passes, a durable caller waits for 5 s at most and not at all
    once commits have failed for 2 s, and what the full queue cannot take is dropped and counted.
    Rows in the queue are tried until they are stored in either case, those of callers who got an
    error too. After an outage everything goes on by itself.
    """

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        durability: Literal["fast", "durable"] = "fast",
        on_record_failure: Literal["refuse", "answer"] = "refuse",
        content: Content = EVERYTHING,
        process_id: str = "",
        on_error: Callable[[Exception], None] | None = None,
        queue_rows: int = QUEUE_ROWS,
    ) -> None:
        self._clock = clock
        self._durable = durability == "durable"
        self._answers = on_record_failure == "answer"
        self._on_error = on_error
        self._queue_rows = queue_rows
        self._committer = Committer(
            database,
            clock=clock,
            durable=self._durable,
            content=content,
            process_id=process_id,
            on_error=on_error,
        )
        self._queue: deque[tuple[InteractionRecord, Acknowledgement | None]] = deque()
        lock = threading.Lock()
        self._wake = threading.Condition(lock)
        self._settled = threading.Condition(lock)
        self._wake_at = 1
        self._accepted = 0
        self._finished = 0
        self._hurry_to = 0
        self._stopping = False
        self._taken_at = clock.monotonic() - WINDOW_S
        self._told_at = clock.monotonic() - _TELL_EVERY_S
        self._callers: dict[asyncio.AbstractEventLoop, Waiting] = {}
        self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
        metrics.QUEUE.set_function(self.depth)

    def start(self) -> None:
        """Start the thread. A recorder is started once."""
        self._thread.start()

    def depth(self) -> int:
        """Records accepted and not yet committed."""
        return self._accepted - self._finished

    def admit(self) -> None:
        """Raise Unavailable (code ``record-failed``) when calls are refused now: a call that cannot
        be recorded is better refused before a model is paid for it. Never with ``answer``."""
        if not self._answers and self.is_failing():
            metrics.REFUSED.inc()
            raise _refusal()

    def put(self, record: InteractionRecord, *, confirm: bool = True) -> Awaitable[None] | None:
        """Take a record. Returns None when there is nothing to wait for: always in ``fast`` mode,
        where it is committed within 50 ms while the database answers.

        In ``durable`` mode the awaitable belongs to the running event loop and completes when the
        row is committed. It raises Unavailable (code ``record-failed``) when that takes more than
        5 s, or when the database can never hold the record; in the first case the row may still be
        stored later. With ``confirm=False``, and in a thread without a running event loop, None is
        returned: ``flush`` waits.

        Raises Unavailable (code ``record-failed``) when the queue is full or the recorder stops;
        with ``answer`` the record is dropped then, and counted.
        """
        with self._wake:
            if not self._is_full():
                future = self._expect() if confirm and self._durable else None
                self._queue.append((record, future))
                self._accepted += 1
                if len(self._queue) == self._wake_at:
                    self._wake.notify()
                return future
        if not self._answers:
            metrics.REFUSED.inc()
            raise _refusal()
        metrics.DROPPED.inc()
        self._tell("calls are answered and not recorded")
        return None

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

    @property
    def answers(self) -> bool:
        """Whether calls are answered that cannot be recorded (``answer``)."""
        return self._answers

    def is_failing(self) -> bool:
        """Whether commits have failed for 2 s, or the queue is full: calls are refused now, or
        answered without being recorded. May be asked from any thread."""
        return self._is_full() or self._is_failing()

    def _is_full(self) -> bool:
        return self._stopping or self._accepted - self._finished >= self._queue_rows

    def _is_failing(self) -> bool:
        return self._committer.failing_s() > FAILING_S

    def _expect(self) -> Acknowledgement | None:
        """A future of this thread's event loop, where there is one and waiting makes sense."""
        if self._answers and self._is_failing():
            metrics.UNCONFIRMED.inc()
            return None
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return None
        callers = self._callers.get(loop)
        if callers is None:
            self._callers = {
                known: of for known, of in self._callers.items() if not known.is_closed()
            }
            callers = self._callers[loop] = Waiting(loop, CONFIRM_S, self._give_up)
        return callers.expect()

    def _give_up(self, future: Acknowledgement) -> None:
        if not self._answers:
            metrics.REFUSED.inc()
            settle([future], _refusal)
            return
        metrics.UNCONFIRMED.inc()
        settle([future])
        self._tell("calls are answered before they are recorded")

    def _tell(self, message: str) -> None:
        now = self._clock.monotonic()
        if self._on_error is None or now - self._told_at < _TELL_EVERY_S:
            return
        self._told_at = now
        with suppress(Exception):
            self._on_error(Unavailable(message, code="record-failed", hint=_HINT))

    def _work(self) -> None:
        self._committer.warm()
        while batch := self._next_batch():
            lost = self._committer.commit([record for record, _ in batch])
            if self._durable:
                self._acknowledge(batch, lost)
            with self._wake:
                self._finished += len(batch)
                self._settled.notify_all()
        self._committer.close()

    def _acknowledge(
        self, batch: list[tuple[InteractionRecord, Acknowledgement | None]], lost: set[str]
    ) -> None:
        if not lost or self._answers:
            acknowledge(future for _, future in batch if future is not None)
            return
        ended = [(future, record.id in lost) for record, future in batch if future is not None]
        acknowledge(future for future, is_lost in ended if not is_lost)
        acknowledge((future for future, is_lost in ended if is_lost), _refusal)

    def _next_batch(self) -> list[tuple[InteractionRecord, Acknowledgement | None]]:
        """The next rows to commit; none when the recorder stops and nothing waits."""
        with self._wake:
            self._wait_for(1, None)
            open_for = WINDOW_S - (self._clock.monotonic() - self._taken_at)
            if open_for > 0 and not self._durable:
                self._wait_for(BATCH_ROWS, open_for)
            self._taken_at = self._clock.monotonic()
            count = min(len(self._queue), BATCH_ROWS)
            return [self._queue.popleft() for _ in range(count)]

    def _wait_for(self, rows: int, timeout: float | None) -> None:
        """Wait until so many rows are there, or somebody does not want to wait any longer."""
        self._wake_at = rows
        self._wake.wait_for(
            lambda: (
                len(self._queue) >= rows
                or self._stopping
                or (rows > 1 and self._hurry_to > self._finished)
            ),
            timeout,
        )


_HINT: Final = "the database does not take what is recorded; see its log and disk space"


def _refusal() -> Unavailable:
    return Unavailable("the call cannot be recorded", code="record-failed", hint=_HINT)
