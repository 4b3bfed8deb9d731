"""Counts by hour and day: with the rows, once, so that percentiles can be told from them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from alembic import command
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import create_engine, delete, select, text
from sqlalchemy.engine import make_url

from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, ReadUnit
from inhouse.db.writer import Writer
from inhouse.interactions.activity import bounds, bucket_of, quantile
from inhouse.interactions.counts import facet_counts, sums
from inhouse.interactions.filters import Facets, Span
from inhouse.interactions.insert import Inserts, Repeated, insert
from inhouse.interactions.record import InteractionRecord
from inhouse.interactions.tables import Activity, Interaction
from inhouse.migrations.migrate import configuration
from inhouse.migrations.upgrade import upgrade

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
_table = table_of(Activity)


def record(**changes: object) -> InteractionRecord:
    values = {
        "id": new_id(),
        "created_at": NOON,
        "status": "answered",
        "input": "x",
        "latency_ms": 1.0,
        "task": "mood",
        "reference": "mood@1",
        "hosting": "own",
        "arm": "incumbent",
        **changes,
    }
    return InteractionRecord(**values)  # type: ignore[arg-type]


def _everything(unit: ReadUnit) -> list[tuple[object, ...]]:
    columns = [column for column in _table.columns if column.name != "process"]
    rows = unit.execute(select(*columns).order_by(*columns))
    return [tuple(round(v, 6) if isinstance(v, float) else v for v in row) for row in rows]


@given(st.floats(0.0, 1e8, allow_nan=False))
def test_a_latency_lies_in_its_bucket(latency: float) -> None:
    bucket = bucket_of(latency)
    low, high = bounds(bucket)
    assert 0 <= bucket < 80
    assert latency > low or (bucket == 0 and latency >= 0)
    assert latency <= high or bucket == 79


@given(st.lists(st.floats(0.081, 4e6), min_size=1, max_size=80), st.sampled_from([0.5, 0.95, 1.0]))
def test_a_quantile_is_within_twelve_percent_of_the_nearest_rank(
    latencies: list[float], q: float
) -> None:
    told = quantile(Counter(map(bucket_of, latencies)), q)
    true = sorted(latencies)[math.ceil(len(latencies) * q) - 1]
    assert told == pytest.approx(true, rel=0.12)


def test_without_a_call_there_is_no_quantile() -> None:
    assert quantile({}, 0.5) is None


def test_calls_are_added_up_by_hour_and_by_day(database: Database) -> None:
    rows = [
        record(latency_ms=2.0, input_tokens=5, output_tokens=1, cost=0.5),
        record(latency_ms=2.1, input_tokens=5, output_tokens=1, cost=0.25),
        record(latency_ms=90.0, created_at=NOON + timedelta(hours=1)),
        record(status="failed", reference=None, hosting=None),
        record(task=None, arm=None, reference="up/" + "m" * 300, hosting="external"),
        record(task=None, arm=None, reference="up/" + "m" * 301, hosting="external"),
    ]
    with database.write() as unit:
        insert(unit, rows[:1], process="a")
        insert(unit, rows[1:], process="b")
    span = Span(since=NOON, until=NOON + timedelta(hours=2))
    with database.read() as unit:
        by_hour = {row.slot: row.calls for row in sums(unit, span, by=("hour",))}
        found = {row.task: row for row in sums(unit, span, by=("task",), facets=Facets())}
        whole = Span(since=NOON - timedelta(days=2), until=NOON + timedelta(days=2))
        by_day = {row.slot: row.calls for row in sums(unit, whole, by=("day",))}
        own = sums(unit, whole, by=("hosting",), facets=Facets(hosting="own"))
        stored = unit.execute(select(_table.c.hour).distinct().order_by(_table.c.hour)).scalars()
        assert list(stored) == ["2026-01-31", "2026-01-31T12", "2026-01-31T13"]
    assert by_hour == {"2026-01-31T12": 5, "2026-01-31T13": 1}
    assert by_day == {"2026-01-31": 6}
    assert found["mood"].calls == 4
    assert (found["mood"].input_tokens, found["mood"].cost) == (10, pytest.approx(0.75))
    assert found[""].calls == 2
    assert [(row.calls, row.latency_ms) for row in own] == [(3, pytest.approx(94.1))]


def test_what_was_counted_is_not_counted_again(database: Database) -> None:
    """As when a commit went through and nobody heard of it."""
    rows = [record() for _ in range(5)]
    inserts = Inserts(database.engine.dialect, "p")
    writer = Writer(database, durable=False, busy_s=1.0)
    with writer.transaction() as cursor:
        inserts.write_fresh(cursor, rows[:3], inserts.rows(rows[:3]))
    with pytest.raises(Repeated), writer.transaction() as cursor:
        inserts.write_fresh(cursor, rows, inserts.rows(rows))
    with writer.transaction() as cursor:
        inserts.write_missing(cursor, rows, inserts.rows(rows))
    writer.close()
    with database.write() as unit:
        assert [row.calls for row in sums(unit, Span(), by=("task",))] == [5]
        unit.execute(delete(table_of(Interaction)))
        assert [row.calls for row in sums(unit, Span(), by=("task",))] == [5]


def test_a_facet_counts_the_calls_that_match_all_the_others(sqlite_database: Database) -> None:
    rows = [
        *[record() for _ in range(3)],
        *[record(status="failed", reference=None, hosting=None) for _ in range(2)],
        record(task="tone", reference="up/a", hosting="external"),
    ]
    with sqlite_database.write() as unit:
        insert(unit, rows)
    with sqlite_database.read() as unit:
        counts = facet_counts(unit, Span(), Facets(task="mood", status="answered"))
    assert counts["task"] == [("mood", 3), ("tone", 1)]
    assert counts["status"] == [("answered", 3), ("failed", 2)]
    assert counts["hosting"] == [("own", 3)]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database as it was before there were counts."""
    if request.param == "sqlite":
        opened = Database(f"sqlite:///{tmp_path / 'old.db'}")
    else:
        server, name = make_url(request.getfixturevalue("postgres_server")), f"t{uuid4().hex}"
        with create_engine(server, isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        opened = Database(server.set(database=name).render_as_string(False))
    with opened.write() as unit:
        command.upgrade(configuration(unit), "0002")
    yield opened
    opened.close()


def test_the_upgrade_counts_calls_that_are_there_already(old: Database) -> None:
    rows = [
        record(latency_ms=0.1 * 1.25**k * factor, created_at=NOON + timedelta(minutes=7 * k))
        for k in range(80)
        for factor in (0.999, 1.0, 1.001)
    ]
    rows += [record(task=None, arm=None), record(status="failed", reference=None, hosting=None)]
    with old.write() as unit:
        table = table_of(Interaction)
        names = {column.name for column in table.columns} - {"shadow_of"}
        stored = [{name: getattr(row, name) for name in names} for row in rows]
        unit.execute(table.insert(), stored)
    upgrade(old)
    with old.write() as unit:
        counted = _everything(unit)
        unit.execute(delete(_table))
        unit.execute(delete(table_of(Interaction)))
        insert(unit, rows)
        assert _everything(unit) == counted
