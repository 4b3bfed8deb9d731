"""What calls used up: counted with the rows, once, by day, process, key and upstream."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy import select

from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.db.writer import Writer
from inhouse.interactions.insert import Inserts, Repeated, insert
from inhouse.interactions.record import InteractionRecord, Recorder, Spending
from inhouse.interactions.spent import SpentRow, totals
from inhouse.interactions.tables import Spent

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DAY = "2026-01-31"


def record(**changes: object) -> InteractionRecord:
    values = {
        "id": new_id(),
        "created_at": NOON,
        "status": "answered",
        "input": "x",
        "latency_ms": 1.0,
        **changes,
    }
    return InteractionRecord(**values)  # type: ignore[arg-type]


def spent(key_id: str, upstream: str, requests: int, tokens: int, cost: float) -> SpentRow:
    return SpentRow(key_id=key_id, upstream=upstream, requests=requests, tokens=tokens, cost=cost)


def test_calls_and_tries_are_added_up(database: Database) -> None:
    up = Spending(upstream="up", tries=2, tokens=30, cost=0.3)
    other = Spending(upstream="other", tries=1, tokens=5, cost=0.1)
    rows = [
        record(key_id="k", input_tokens=30, output_tokens=10, cost=0.4, spendings=(up, other)),
        record(key_id="k", input_tokens=20, output_tokens=10, cost=0.3, spendings=(up,)),
        record(input_tokens=7),
        record(status="failed"),
    ]
    with database.write() as unit:
        insert(unit, rows, process="p")
    expected = [
        spent("", "", 2, 7, 0.0),
        spent("k", "", 2, 5, 0.0),
        spent("k", "other", 1, 5, 0.1),
        spent("k", "up", 4, 60, 0.6),
    ]
    with database.read() as unit:
        assert totals(unit, DAY) == expected


def test_tries_of_engines_are_not_calls(sqlite_database: Database) -> None:
    engine = Spending(upstream="", tries=3, tokens=12, cost=0.0)
    up = Spending(upstream="up", tries=1, tokens=8, cost=0.5)
    row = record(input_tokens=15, output_tokens=5, cost=0.5, spendings=(up, engine))
    with sqlite_database.write() as unit:
        insert(unit, [row])
    with sqlite_database.read() as unit:
        assert totals(unit, DAY) == [spent("", "", 1, 12, 0.0), spent("", "up", 1, 8, 0.5)]


def test_totals_are_of_one_day_in_utc_and_of_all_processes_but_one(database: Database) -> None:
    zone = timezone(timedelta(hours=-5))
    late = datetime(2026, 1, 31, 23, 30, tzinfo=zone)
    with database.write() as unit:
        insert(unit, [record(input_tokens=1), record(created_at=late)], process="a")
        insert(unit, [record(input_tokens=10)], process="b")
    with database.read() as unit:
        assert totals(unit, DAY) == [spent("", "", 2, 11, 0.0)]
        assert totals(unit, DAY, without_process="a") == [spent("", "", 1, 10, 0.0)]
        assert totals(unit, "2026-02-01") == [spent("", "", 1, 0, 0.0)]
        assert totals(unit, "2026-02-02") == []


def test_what_was_counted_is_not_counted_again(database: Database) -> None:
    """As when a commit went through and nobody heard of it."""
    rows = [record(input_tokens=1) for _ in range(5)]
    inserts = Inserts(database.engine.dialect, "p")
    writer = Writer(database, durable=False, busy_s=1.0)
    with writer.transaction() as cursor:
        inserts.write_fresh(cursor, rows[:3], inserts.rows(rows[:3]))
    with pytest.raises(Repeated), writer.transaction() as cursor:
        inserts.write_fresh(cursor, rows, inserts.rows(rows))
    with writer.transaction() as cursor:
        inserts.write_missing(cursor, rows, inserts.rows(rows))
    writer.close()
    with database.read() as unit:
        assert totals(unit, DAY) == [spent("", "", 5, 5, 0.0)]


def test_the_recorder_counts_a_repeated_row_once(database: Database) -> None:
    rows = [record(input_tokens=1) for _ in range(4)]
    recorder = Recorder(database, clock=SystemClock(), process_id="p")
    for row in (*rows, rows[1], rows[3]):
        recorder.put(row)
    recorder.start()
    recorder.flush()
    recorder.put(rows[0])
    recorder.stop()
    with database.read() as unit:
        assert totals(unit, DAY) == [spent("", "", 4, 4, 0.0)]


def test_many_batches_add_up_to_one_row_per_process(database: Database) -> None:
    recorders = [Recorder(database, clock=SystemClock(), process_id=name) for name in "ab"]
    for recorder in recorders:
        recorder.start()
    for _ in range(5):
        for recorder in recorders:
            for _ in range(30):
                recorder.put(record(input_tokens=2, cost=0.5))
            recorder.flush()
    for recorder in recorders:
        recorder.stop()
    table = table_of(Spent)
    with database.read() as unit:
        kept = unit.execute(select(table).order_by(table.c.process)).all()
        assert [(row.process, row.requests, row.tokens, row.cost) for row in kept] == [
            ("a", 150, 300, 75.0),
            ("b", 150, 300, 75.0),
        ]
