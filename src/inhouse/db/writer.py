"""One connection for one thread that writes all the time, without SQLAlchemy between them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from inhouse.db.bulk import bulk_cursor
from inhouse.db.engine import file_of, identity
from inhouse.db.unit import Database


class Writer:
    """Transactions over a driver's connection of its own. For one thread at a time.

    ``durable``: a commit returns when the data is on the disk (SQLite: ``synchronous=FULL``;
    PostgreSQL: ``synchronous_commit`` at least ``on``). ``busy_s`` is the longest wait for a lock
    that somebody else holds. Other connections of the database keep their own settings.
    """

    def __init__(self, database: Database, *, durable: bool, busy_s: float) -> None:
        self._database = database
        self._durable = durable
        self._busy_ms = int(busy_s * 1e3)
        self._begin = "BEGIN IMMEDIATE" if database.is_sqlite else "BEGIN"
        self._connection: Any = None
        self._path = file_of(database.engine.url)
        self._file: tuple[int, int] | None = None

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A ``bulk_cursor``; committed when the block ends, rolled back when it raises.

        Raises what the driver raises. The next transaction after an error has a new connection.
        """
        try:
            file = None if self._path is None else identity(self._path)
            if file != self._file:
                self.close()
            if self._connection is None:
                self._connection = self._open()
            cursor = bulk_cursor(self._database.engine.dialect, self._connection)
            cursor.execute(self._begin)
            yield cursor
            cursor.execute("COMMIT")
        except BaseException:
            self.close()
            raise

    def warm(self) -> None:
        """Open the connection before the first transaction wants it. One that cannot be opened now
        is left to that transaction."""
        with suppress(Exception), self.transaction():
            pass

    def close(self) -> None:
        """Give the connection up; what is not committed is rolled back."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with suppress(Exception):
            connection.rollback()  # close() keeps SQLite's lock while a cursor is still referenced
        with suppress(Exception):
            connection.close()

    def _open(self) -> Any:
        pooled = self._database.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        if self._database.is_sqlite:
            self._file = None if self._path is None else identity(self._path)
            connection.execute(f"PRAGMA busy_timeout={self._busy_ms}")
            if self._durable:
                connection.execute("PRAGMA synchronous=FULL")
            return connection
        connection.autocommit = True
        connection.execute(f"SET lock_timeout = {self._busy_ms}")
        if self._durable:
            connection.execute(
                "SELECT set_config('synchronous_commit', 'on', false)"
                " WHERE current_setting('synchronous_commit') IN ('off', 'local')"
            )
        return connection
