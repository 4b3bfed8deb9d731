"""From nothing to the newest schema, on both dialects, without drift."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from inhouse.core.errors import Conflict
from inhouse.db.unit import Database
from inhouse.migrations.schema import metadata
from inhouse.migrations.upgrade import upgrade


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path / 'new.db'}")
        yield opened
        opened.close()
        return
    server = make_url(request.getfixturevalue("postgres_server"))
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS migrated"))
        connection.execute(text("CREATE DATABASE migrated"))
    opened = Database(server.set(database="migrated").render_as_string(False))
    yield opened
    opened.close()
    admin.dispose()


def test_the_migrations_make_what_the_tables_declare(empty: Database) -> None:
    upgrade(empty)
    upgrade(empty)
    with empty.read() as unit:
        context = MigrationContext.configure(unit, opts={"compare_type": True})
        assert compare_metadata(context, metadata()) == []


def test_a_database_of_a_newer_inhouse_is_left_alone(empty: Database) -> None:
    upgrade(empty)
    with empty.write() as unit:
        unit.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="9999"):
        upgrade(empty)
