"""Bring a database to the newest revision, and tell where it stands.

Alembic is loaded only where there is something to do: every start asks, and hardly any migrates.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import column, inspect, select, table

from inhouse.db.unit import Database, ReadUnit

NEWEST: Final = "0008"
"""The last revision of ``versions``."""
_LOCK: Final = 8040
"""PostgreSQL's advisory lock that processes take which start at the same time."""
_version: Final = table("alembic_version", column("version_num"))


def upgrade(database: Database) -> None:
    """Run the migrations that are missing, in one transaction. Where there are none it only reads,
    and waits for nobody who writes.

    Raises Conflict when the database is of a newer Inhouse than this one.
    """
    with database.read() as reading:
        if revision(reading) == NEWEST:
            return
    with database.write() as unit:
        if not database.is_sqlite:
            unit.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = revision(unit)
        if found == NEWEST:
            return
        from inhouse.migrations.migrate import migrate  # noqa: PLC0415 - 8 MB, seldom used

        migrate(unit, found)


def revision(unit: ReadUnit) -> str | None:
    """Where a database stands; None for an empty one."""
    if not inspect(unit).has_table(_version.name):
        return None
    found: str | None = unit.execute(select(_version.c.version_num)).scalar()
    return found
