"""What the two dialects say differently: insert-or-ignore and skip-locked reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import Insert, Table
from sqlalchemy.dialects import sqlite

from inhouse.db.base import Base
from inhouse.db.unit import ReadUnit, WriteUnit

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql


def table_of(model: type[Base]) -> Table:
    """The Core table of a declarative class."""
    table = model.__table__
    if not isinstance(table, Table):
        raise TypeError(f"{model.__name__} is not mapped to a table")
    return table


def insert_ignore(unit: ReadUnit, model: type[Base]) -> Insert:
    """INSERT ... ON CONFLICT DO NOTHING."""
    return _insert(unit, model).on_conflict_do_nothing()


def upsert(
    unit: WriteUnit, model: type[Base], keys: Sequence[str], values: Mapping[str, Any]
) -> None:
    """Insert a row, or update the one with the same keys."""
    changed = {name: value for name, value in values.items() if name not in keys}
    statement = _insert(unit, model).values(**values)
    unit.execute(statement.on_conflict_do_update(index_elements=list(keys), set_=changed))


def _insert(unit: ReadUnit, model: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """The INSERT of the database's dialect."""
    if unit.dialect.name == "postgresql":
        from sqlalchemy.dialects import postgresql  # noqa: PLC0415 - 2.5 MB, where it is used

        return postgresql.insert(table_of(model))
    return sqlite.insert(table_of(model))
