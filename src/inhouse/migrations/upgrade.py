"""Bring a database to the newest revision, and tell where it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from inhouse.core.errors import Conflict
from inhouse.db.unit import Database

_HERE = Path(__file__).parent
_LOCK: Final = 8040
"""PostgreSQL's advisory lock that processes take which start at the same time."""


def upgrade(database: Database) -> None:
    """Run the migrations that are missing, in one transaction. Does nothing when there are none.

    Raises Conflict when the database is of a newer Inhouse than this one.
    """
    config = configuration()
    scripts = ScriptDirectory.from_config(config)
    with database.write() as unit:
        if not database.is_sqlite:
            unit.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")
        found = MigrationContext.configure(unit).get_current_revision()
        if found == scripts.get_current_head():
            return
        _check_known(scripts, found)
        config.attributes["connection"] = unit
        command.upgrade(config, "head")


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without any file beside the package."""
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _check_known(scripts: ScriptDirectory, found: str | None) -> None:
    if found is not None and found not in {s.revision for s in scripts.walk_revisions()}:
        raise Conflict(
            f"the database is at revision {found}, which this Inhouse does not know",
            code="database-newer",
            hint="install the version of Inhouse that last opened it, or a newer one",
        )
