"""SQLite's write-ahead log, which holds old pages until it is emptied."""

from __future__ import annotations

from inhouse.db.unit import Database


def empty_log(database: Database) -> bool:
    """Write the log into the database file and cut it to nothing. False when a reader kept it from
    that for 10 s; the log is then overwritten as calls are recorded. PostgreSQL looks after its own
    log."""
    if not database.is_sqlite:
        return True
    with database.engine.connect() as connection:
        busy: int = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()[0]
    return not busy
