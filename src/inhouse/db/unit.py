"""Units of work. A function that takes a ``ReadUnit`` cannot write; a ``WriteUnit`` may do both.

SQLite writes begin with BEGIN IMMEDIATE: a transaction that reads first and writes later would
otherwise fail with "database is locked" under concurrency.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NewType

from sqlalchemy import Connection, Engine, delete, false
from sqlalchemy.exc import DBAPIError, OperationalError

from inhouse.core.errors import Unavailable
from inhouse.db.engine import open_engine
from inhouse.db.tables import Meta

ReadUnit = NewType("ReadUnit", Connection)
WriteUnit = NewType("WriteUnit", ReadUnit)


class Database:
    """One database. Open units with ``with database.read() as unit`` or ``database.write()``."""

    def __init__(self, url: str) -> None:
        self.engine: Engine = open_engine(url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[ReadUnit]:
        """A consistent view of the data; nothing written in it is kept."""
        with self._connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            try:
                yield ReadUnit(connection)
            finally:
                connection.rollback()
                if self.is_sqlite and _in_transaction(connection):
                    connection.exec_driver_sql("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[WriteUnit]:
        """A transaction: committed when the block ends, rolled back when it raises. Raises
        Unavailable (code ``database-unavailable``) when it cannot begin."""
        with self._connect() as connection:
            self._begin_write(connection)
            try:
                yield WriteUnit(ReadUnit(connection))
            except BaseException:
                if self.is_sqlite and _in_transaction(connection):
                    connection.exec_driver_sql("ROLLBACK")
                connection.rollback()
                raise
            if self.is_sqlite:
                connection.exec_driver_sql("COMMIT")
            connection.commit()

    def try_write(self) -> None:
        """Change nothing. Raises Unavailable (code ``database-unavailable``) when nothing could be
        changed: somebody holds the lock, or all that there is may only be read."""
        try:
            with self.write() as unit:
                unit.execute(delete(Meta).where(false()))
        except DBAPIError as error:
            raise Unavailable(
                f"the database takes nothing: {said(error)}",
                code="database-unavailable",
                hint="who owns it, and may this user write to it?",
            ) from error

    def close(self) -> None:
        self.engine.dispose()

    def _begin_write(self, connection: Connection) -> None:
        if not self.is_sqlite:
            connection.begin()
            return
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError as error:
            raise _no_answer(error) from error

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        try:
            connection = self.engine.connect()
        except OperationalError as error:
            raise _no_answer(error) from error
        with connection:
            yield connection


def said(error: DBAPIError) -> str:
    """What the database said, on one line."""
    return " ".join(str(error.orig).split())


def _no_answer(error: OperationalError) -> Unavailable:
    return Unavailable(
        f"the database does not answer: {said(error)}",
        code="database-unavailable",
        hint="is another program writing to it, or the server down?",
    )


def _in_transaction(connection: Connection) -> bool:
    driver = connection.connection.driver_connection
    return bool(driver is not None and driver.in_transaction)
