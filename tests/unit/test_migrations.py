"""From nothing to the newest schema, on both dialects, without drift."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from inhouse.core.errors import Conflict
from inhouse.db.unit import Database
from inhouse.migrations.migrate import configuration, revisions
from inhouse.migrations.schema import metadata
from inhouse.migrations.upgrade import NEWEST, revision, upgrade
from inhouse.rollout import experiment_records, intake_records


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


def test_a_start_knows_the_newest_revision_without_reading_the_migrations(empty: Database) -> None:
    with empty.read() as unit:
        assert revision(unit) is None
    upgrade(empty)
    with empty.read() as unit:
        assert revision(unit) == NEWEST == revisions()[0]


def test_a_database_of_a_newer_inhouse_is_left_alone(empty: Database) -> None:
    upgrade(empty)
    with empty.write() as unit:
        unit.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(Conflict, match="9999"):
        upgrade(empty)


def test_examples_of_before_know_where_they_came_from(empty: Database) -> None:
    """Revision 3 reads out of their origins what it makes columns of."""
    at = "2026-01-31T09:00:00.000000Z"
    imports = [("same", "a.csv", 7), ("same", "b.csv", 7), ("other", "a.csv", 8)]
    origins = [
        ("same", '{"kind":"import","row":7,"source":"b.csv"}'),
        ("asked", '{"feedback_ids":[],"interaction_id":"i1","kind":"correction"}'),
        ("gone", '{"kind":"import","row":9,"source":"a.csv"}'),
    ]
    with empty.write() as unit:
        command.upgrade(configuration(unit), "0002")
        for n, (words, source, row) in enumerate(imports):
            unit.exec_driver_sql(
                "INSERT INTO imported_example (id, task, task_revision, input, target, weight,"
                " source, row_number, content_hash, created_at) VALUES"
                f" ('m{n}', 'mood', 'r', '\"{words}\"', '1', 1, '{source}', {row}, 'h{n}', '{at}')"
            )
        unit.exec_driver_sql(
            "INSERT INTO dataset_snapshot (id, task, task_revision, content_hash, settings, counts,"
            f" dropped, created_at) VALUES ('s', 'mood', 'r', 'h', '1', '1', '1', '{at}')"
        )
        for n, (words, origin) in enumerate(origins):
            unit.exec_driver_sql(
                "INSERT INTO dataset_snapshot_example (snapshot_id, position, split, input, target,"
                " weight, quality, group_key, origin, content_hash) VALUES"
                f" ('s', {n}, 'train', '\"{words}\"', '1', 1, 1, 'g', '{origin}', 'h')"
            )
    upgrade(empty)
    with empty.read() as unit:
        found = unit.exec_driver_sql(
            "SELECT interaction_id, imported_id FROM dataset_snapshot_example ORDER BY position"
        )
        assert [tuple(row) for row in found] == [(None, "m1"), ("i1", None), (None, None)]


def test_intakes_of_before_keep_what_they_counted(empty: Database) -> None:
    """Revision 5 makes pairs of numbers by process, the labels behind them."""
    with empty.write() as unit:
        command.upgrade(configuration(unit), "0004")
    at = "2026-01-31T09:00:00.000000Z"
    rows = [(1, '{"b":7,"a":3}', "[]"), (2, '{"a":5}', '[["f","i","u",true,1000,0.5]]')]
    with empty.write() as unit:
        for number, upto, labels in rows:
            unit.execute(
                text("INSERT INTO rollout_intake VALUES ('r', :n, :u, :l, '{}', :no, :at)"),
                {"n": number, "u": upto, "l": labels, "no": False, "at": at},
            )
    upgrade(empty)
    with empty.read() as unit:
        first, second = intake_records.list_intakes(unit, "r")
    assert first.counted == (("a", 3), ("b", 7))
    assert second.counted == (("a", 5), (None, 1))


def test_experiments_of_before_have_no_limit(empty: Database) -> None:
    """Revision 6 adds a limit and an audit, which those that run have not."""
    with empty.write() as unit:
        command.upgrade(configuration(unit), "0005")
    with empty.write() as unit:
        unit.exec_driver_sql(
            "INSERT INTO experiment VALUES ('e', 'mood', 'up/a', 'up/b', 5000, 'correct', 400, 4,"
            " 0.05, 'running', 1, 1, 'up/a', '{}', '{\"by_user\":false}', 'ada', 'why',"
            " '2026-01-31T09:00:00.000000Z', NULL)"
        )
    upgrade(empty)
    with empty.read() as unit:
        found = experiment_records.get(unit, "e")
    assert (found.until, found.question.audit, found.question.judge) == (None, 0.0, "")
