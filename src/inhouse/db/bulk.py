"""Many rows in few statements: SQL made once, values as the driver takes them.

SQLAlchemy's ``executemany`` costs two to three times as much per row, and takes the interpreter
lock back after every row, which a busy event loop gives up only every few milliseconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import Column, Dialect

from inhouse.db.base import Base, Instant, JsonText, in_utc, instant_text, json_text
from inhouse.db.dialects import table_of

Row = Sequence[Any]
_SIZES: Final = (64, 16, 4, 1)


class BulkInsert:
    """INSERT of rows of one table. ``conflict`` is what stands after ON CONFLICT."""

    def __init__(self, dialect: Dialect, model: type[Base], *, conflict: str) -> None:
        table = table_of(model)
        self.names = tuple(column.name for column in table.columns)
        self._converters = [
            (place, convert)
            for place, column in enumerate(table.columns)
            if (convert := _converter(column, dialect)) is not None
        ]
        quote = dialect.identifier_preparer.quote
        names = ", ".join(map(quote, self.names))
        self._statements = {
            size: f"INSERT INTO {quote(table.name)} ({names}) VALUES"
            f" {_marks(dialect, size, len(self.names))} ON CONFLICT {conflict}"
            for size in _SIZES
        }

    def row(self, values: Row) -> Row:
        """Values in the order of ``names``, as the driver takes them. Raises ValueError or
        TypeError for one that its column cannot hold."""
        row = list(values)
        for place, convert in self._converters:
            if row[place] is not None:
                row[place] = convert(row[place])
        return row

    def execute(self, cursor: Any, rows: Sequence[Row]) -> int:
        """Insert what ``row`` made, through a ``bulk_cursor``; returns how many rows were inserted
        or changed."""
        done = changed = 0
        for size in _SIZES:
            while len(rows) - done >= size:
                values = [value for row in rows[done : done + size] for value in row]
                cursor.execute(self._statements[size], values)
                changed += cursor.rowcount
                done += size
        return changed


def bulk_cursor(dialect: Dialect, connection: Any) -> Any:
    """A cursor of the driver's connection that takes the statements of ``BulkInsert``.

    With PostgreSQL they name parameters as the server does: psycopg would rewrite its own form at
    every execution of a long statement, for most of the cost of the insert.
    """
    if dialect.name == "postgresql":
        return dialect.loaded_dbapi.RawCursor(connection)
    return connection.cursor()


def _marks(dialect: Dialect, rows: int, columns: int) -> str:
    numbers = range(1, rows * columns + 1)
    marks = [f"${number}" if dialect.name == "postgresql" else "?" for number in numbers]
    starts = range(0, len(marks), columns)
    return ", ".join(f"({', '.join(marks[start : start + columns])})" for start in starts)


def _converter(column: Column[Any], dialect: Dialect) -> Callable[[Any], Any] | None:
    if isinstance(column.type, JsonText):
        return json_text
    if isinstance(column.type, Instant):
        return in_utc if dialect.name == "postgresql" else instant_text
    return None
