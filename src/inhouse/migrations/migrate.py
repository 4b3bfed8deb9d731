"""Alembic's part: which revisions there are, and how to get from one to the newest."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from inhouse.core.errors import Conflict

_HERE = Path(__file__).parent


def migrate(connection: Connection, found: str | None) -> None:
    """Run what is missing after the revision ``found``, in the transaction of the connection.

    Raises Conflict for a revision that this Inhouse does not know.
    """
    config = configuration(connection)
    if found is not None and found not in revisions():
        raise Conflict(
            f"the database is at revision {found}, which this Inhouse does not know",
            code="database-newer",
            hint="install the version of Inhouse that last opened it, or a newer one",
        )
    command.upgrade(config, "head")


def revisions() -> list[str]:
    """Every revision, the newest first."""
    scripts = ScriptDirectory.from_config(configuration())
    return [script.revision for script in scripts.walk_revisions()]


def configuration(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without any file beside the package."""
    config = Config()
    config.set_main_option("script_location", str(_HERE).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
