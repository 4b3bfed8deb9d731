"""Writing past SQLAlchemy: rows as they are, transactions whole, locks given back."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.db.base import instant_text
from inhouse.db.bulk import BulkInsert
from inhouse.db.dialects import table_of
from inhouse.db.engine import file_of
from inhouse.db.unit import Database
from inhouse.db.writer import Writer
from inhouse.jobs.tables import Job

NOON = datetime(2026, 1, 31, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=3)))
TABLE = table_of(Job)


def job(name: str, **changes: Any) -> dict[str, Any]:
    row = {
        column.name: None
        if column.nullable
        else {"VARCHAR": "x", "INTEGER": 1, "BOOLEAN": False}.get(_kind(column))
        for column in TABLE.columns
    }
    instants = {c.name: NOON for c in TABLE.columns if type(c.type).__name__ == "Instant"}
    return {**row, **instants, "id": name, "arguments": {"b": ["\0", "☃"], "a": 0.1}, **changes}


def _kind(column: Any) -> str:
    return str(column.type).split("(")[0]


def read(database: Database) -> list[dict[str, Any]]:
    with database.read() as unit:
        return [dict(row._mapping) for row in unit.execute(TABLE.select().order_by(TABLE.c.id))]


@pytest.fixture
def writer(database: Database) -> Any:
    made = Writer(database, durable=True, busy_s=0.1)
    yield made
    made.close()


def bulk(database: Database) -> BulkInsert:
    return BulkInsert(database.engine.dialect, Job, conflict="DO NOTHING")


@pytest.mark.parametrize("count", [0, 1, 3, 4, 15, 87, 300])
def test_rows_of_any_number_are_the_same_as_by_sqlalchemy(
    database: Database, writer: Writer, count: int
) -> None:
    rows = [job(f"{number:04}") for number in range(count)]
    insert = bulk(database)
    with writer.transaction() as cursor:
        made = [insert.row([row[name] for name in insert.names]) for row in rows]
        assert insert.execute(cursor, made) == count
        assert insert.execute(cursor, made) == 0
    assert read(database) == rows


def test_both_ways_write_the_same(database: Database, writer: Writer) -> None:
    insert = bulk(database)
    with database.write() as unit:
        unit.execute(TABLE.insert(), job("same"))
    (usual,) = read(database)
    with database.write() as unit:
        unit.execute(TABLE.delete())
    with writer.transaction() as cursor:
        insert.execute(cursor, [insert.row([job("same")[name] for name in insert.names])])
    assert read(database) == [usual]


def test_an_error_leaves_nothing_and_the_next_transaction_works(
    database: Database, writer: Writer
) -> None:
    insert = bulk(database)
    row = insert.row([job("a")[name] for name in insert.names])

    def fail() -> None:
        with writer.transaction() as cursor:
            insert.execute(cursor, [row])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert read(database) == []
    with writer.transaction() as cursor:
        insert.execute(cursor, [row])
    assert len(read(database)) == 1


def test_a_failed_transaction_holds_no_lock_while_its_error_lives(
    database: Database, writer: Writer
) -> None:
    insert = bulk(database)
    bad = list(insert.row([job("a")[name] for name in insert.names]))
    bad[insert.names.index("id")] = "\ud800"

    def fail() -> None:
        with writer.transaction() as cursor:
            cursor.execute("DELETE FROM job")
            insert.execute(cursor, [bad])

    with pytest.raises(UnicodeEncodeError) as caught:
        fail()
    with writer.transaction() as cursor:
        cursor.execute("DELETE FROM job")
    assert caught.tb is not None, "the frames of the error are alive, with their cursor"


def test_what_is_written_goes_to_the_file_that_is_there_now(
    sqlite_database: Database, tmp_path: Path
) -> None:
    place = file_of(sqlite_database.engine.url)
    assert place is not None
    writer, insert = Writer(sqlite_database, durable=False, busy_s=0.1), bulk(sqlite_database)

    def write(name: str) -> None:
        with writer.transaction() as cursor:
            insert.execute(cursor, [insert.row([job(name)[one] for one in insert.names])])

    write("before")
    sqlite_database.engine.dispose()
    files = [place, *place.parent.glob(f"{place.name}-*")]
    for file in files:
        file.rename(tmp_path / f"away-{file.name}")
    with pytest.raises(sqlite3.OperationalError, match="is gone"):
        write("lost")
    assert not place.exists()
    for file in files:
        (tmp_path / f"away-{file.name}").rename(file)
    write("after")
    writer.close()
    assert [row["id"] for row in read(sqlite_database)] == ["after", "before"]


def test_a_time_without_a_zone_is_refused(database: Database) -> None:
    insert = bulk(database)
    with pytest.raises(ValueError, match="zone"):
        insert.row([job("a", created_at=datetime(2026, 1, 1))[name] for name in insert.names])  # noqa: DTZ001


@settings(max_examples=200)
@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
def test_times_are_sortable_text(moment: datetime) -> None:
    text = instant_text(moment)
    assert text == moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")
    assert datetime.fromisoformat(text) == moment
