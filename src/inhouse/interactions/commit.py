"""One batch into the database, however long the database takes to answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

from inhouse.core.clock import Clock
from inhouse.db.bulk import Row
from inhouse.db.unit import Database
from inhouse.db.writer import Writer
from inhouse.interactions import metrics
from inhouse.interactions.content import Content
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.insert import Inserts, Repeated

_BUSY_S: Final = 10.0
_BUSY_DURABLE_S: Final = 1.0
_FIRST_PAUSE_S: Final = 0.05
_LAST_PAUSE_S: Final = 1.0


class Committer:
    """Writes batches, for the recorder's thread. ``on_error`` hears every failed try."""

    def __init__(
        self,
        database: Database,
        *,
        clock: Clock,
        durable: bool,
        content: Content,
        process_id: str,
        on_error: Callable[[Exception], None] | None,
    ) -> None:
        self._clock = clock
        self._content = content
        self._on_error = on_error
        busy_s = _BUSY_DURABLE_S if durable else _BUSY_S
        self._writer = Writer(database, durable=durable, busy_s=busy_s)
        self._inserts = Inserts(database.engine.dialect, process_id)
        driver = database.engine.dialect.loaded_dbapi
        self._row_faults: tuple[type[Exception], ...] = (
            driver.DataError,
            driver.IntegrityError,
            ValueError,
            TypeError,
            OverflowError,
        )
        self._failing_since: float | None = None

    def warm(self) -> None:
        """Be ready for the first batch, whose calls should not wait for a connection."""
        self._writer.warm()

    def failing_s(self) -> float:
        """Seconds since the first of the tries that failed in a row; 0 when the last one did not.
        May be asked from any thread."""
        since = self._failing_since
        return 0.0 if since is None else self._clock.monotonic() - since

    def commit(self, batch: Sequence[InteractionRecord]) -> set[str]:
        """Commit a batch. Returns the ids of those that the database can never hold."""
        try:
            rows = self._rows(batch)
        except Exception as error:  # noqa: BLE001 trying again would not help
            self._report(error)
            return self._commit_singly(batch)
        pause, write = _FIRST_PAUSE_S, self._inserts.write_fresh
        while True:
            try:
                self._write(batch, rows, write)
            except Repeated:
                write = self._inserts.write_missing
            except self._row_faults as error:
                self._report(error)
                return self._commit_singly(batch)
            except Exception as error:  # noqa: BLE001 the recorder's thread outlives every error
                self._failing_since = self._failing_since or self._clock.monotonic()
                self._report(error)
                write = self._inserts.write_missing
                time.sleep(pause)
                pause = min(2 * pause, _LAST_PAUSE_S)
            else:
                self._failing_since = None
                return set()

    def close(self) -> None:
        """Give the connection up."""
        self._writer.close()

    def _rows(self, batch: Sequence[InteractionRecord]) -> list[Row]:
        if self._content.is_everything:
            return self._inserts.rows(batch)
        return self._inserts.rows(self._content.of(record) for record in batch)

    def _write(
        self, batch: Sequence[InteractionRecord], rows: Sequence[Row], write: Callable[..., None]
    ) -> None:
        started = self._clock.monotonic()
        with self._writer.transaction() as cursor:
            write(cursor, batch, rows)
        metrics.COMMIT_SECONDS.observe(self._clock.monotonic() - started)
        metrics.RECORDS.inc(len(batch))

    def _commit_singly(self, batch: Sequence[InteractionRecord]) -> set[str]:
        """One bad row must not hold up the others: each gets its own transaction."""
        if len(batch) == 1:
            metrics.LOST.inc()
            return {batch[0].id}
        return set().union(*(self.commit([record]) for record in batch))

    def _report(self, error: Exception) -> None:
        metrics.FAILURES.inc()
        if self._on_error is not None:
            with suppress(Exception):
                self._on_error(error)
