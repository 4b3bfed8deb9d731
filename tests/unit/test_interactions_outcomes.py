"""Outcomes of a split: written with the calls, numbered in the order of their commits."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import select

from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.db.writer import Writer
from inhouse.interactions.insert import Inserts, Repeated, insert
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.tables import Outcome, OutcomeHead

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
OUTCOMES, HEADS = table_of(Outcome), table_of(OutcomeHead)


def record(**changes: Any) -> InteractionRecord:
    values = {
        "id": new_id(),
        "created_at": NOON,
        "status": "answered",
        "input": "x",
        "latency_ms": 12.5,
        "task": "tone",
        "arm": "incumbent",
        "route_revision": 3,
        "weight_bp": 1000,
        **changes,
    }
    return InteractionRecord(**values)


def stored(database: Database) -> list[Any]:
    with database.read() as unit:
        return list(unit.execute(select(OUTCOMES).order_by(OUTCOMES.c.process, OUTCOMES.c.number)))


def heads(database: Database) -> dict[str, int]:
    with database.read() as unit:
        return {row.process: row.number for row in unit.execute(select(HEADS))}


def test_an_outcome_says_how_a_call_of_a_split_ended(database: Database) -> None:
    calls = [
        record(unit="u" * 32),
        record(arm="candidate", rescued=True),
        record(arm="candidate", status="flagged"),
        record(status="cancelled"),
    ]
    copy = record(arm="shadow", weight_bp=0, shadow_of=calls[0].id, paired_bad=True)
    with database.write() as unit:
        insert(unit, [*calls, copy], process="p")
    rows = stored(database)
    assert [row.number for row in rows] == [1, 2, 3, 4, 5]
    assert [row.bad for row in rows] == [False, True, True, True, False]
    assert [row.arm for row in rows] == [*(one.arm for one in calls), "shadow"]
    assert [row.weight_bp for row in rows] == [1000] * 4 + [0]
    assert [row.paired_bad for row in rows] == [None] * 4 + [True]
    assert [row.interaction_id for row in rows] == [*(one.id for one in calls), calls[0].id]
    first = rows[0]
    assert (first.task, first.route_revision, first.latency_ms) == ("tone", 3, 12.5)
    assert (first.unit, first.created_at) == ("u" * 32, NOON)
    assert heads(database) == {"p": 5}


@pytest.mark.parametrize(
    "changes",
    [
        {"weight_bp": None},
        {"weight_bp": 0},
        {"weight_bp": 10_000},
        {"arm": "forced"},
        {"arm": "candidate", "rescued": True, "attempts": [{"code": "breaker-silent"}]},
        {"arm": "pinned"},
        {"arm": None},
        {"task": None},
        {"route_revision": None},
        {"arm": "shadow", "shadow_of": None, "weight_bp": 0},
        {"arm": "shadow", "shadow_of": new_id(), "weight_bp": 0, "paired_bad": None},
    ],
)
def test_calls_that_nobody_compares_leave_none(
    sqlite_database: Database, changes: dict[str, Any]
) -> None:
    with sqlite_database.write() as unit:
        insert(unit, [record(**changes)], process="p")
    assert stored(sqlite_database) == []
    assert heads(sqlite_database) == {}


def test_numbers_are_not_used_again(database: Database) -> None:
    inserts = Inserts(database.engine.dialect, "p")
    writer = Writer(database, durable=False, busy_s=1.0)
    first, second = record(), record()
    with writer.transaction() as cursor:
        inserts.write_fresh(cursor, [first], inserts.rows([first]))
    with pytest.raises(Repeated), writer.transaction() as cursor:
        inserts.write_fresh(cursor, [first, second], inserts.rows([first, second]))
    with suppress(ZeroDivisionError), writer.transaction() as cursor:
        inserts.write_missing(cursor, [second], inserts.rows([second]))
        raise ZeroDivisionError
    with writer.transaction() as cursor:
        inserts.write_missing(cursor, [first, second], inserts.rows([first, second]))
    writer.close()
    rows = stored(database)
    assert [row.interaction_id for row in rows] == [first.id, second.id]
    assert rows[0].number == 1
    assert rows[1].number > 2, "the number of a transaction that failed"
    assert heads(database) == {"p": rows[1].number}


def test_the_recorder_counts_for_its_process(database: Database) -> None:
    recorder = Recorder(database, clock=SystemClock(), process_id="gateway-1")
    recorder.start()
    calls = [record() for _ in range(70)]
    for call in calls:
        recorder.put(call)
    recorder.stop()
    rows = stored(database)
    assert [row.interaction_id for row in rows] == [call.id for call in calls]
    assert heads(database) == {"gateway-1": rows[-1].number}
