"""The recorder: batches, outages, bad rows, bounds."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import REGISTRY

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Unavailable
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.interactions.pseudonym import pseudonym
from inhouse.interactions.record import BATCH_ROWS, InteractionRecord, Recorder, insert
from inhouse.interactions.search import get, search
from inhouse.interactions.tables import Interaction
from inhouse.testing.clock import FrozenClock


def record(**changes: object) -> InteractionRecord:
    base = InteractionRecord(
        id=new_id(),
        created_at=SystemClock().now(),
        status="answered",
        input="Profits doubled.",
        latency_ms=12.5,
        task="mood",
        output={"label": "positive"},
        attempts=[{"reference": "up/a", "ok": True, "code": None, "latency_ms": 12.0}],
    )
    return replace(base, **changes)


class Outage:
    """The table is away, so that every insert fails, until it ``ends``. Hears the errors."""

    def __init__(self, database: Database) -> None:
        self.felt = threading.Event()
        self.errors: list[Exception] = []
        self._database = database
        self._rename("interaction", "hidden")

    def hear(self, error: Exception) -> None:
        self.errors.append(error)
        self.felt.set()

    def ends(self) -> None:
        self._rename("hidden", "interaction")

    def _rename(self, old: str, new: str) -> None:
        with self._database.write() as unit:
            unit.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def commits() -> float:
    return REGISTRY.get_sample_value("inhouse_record_commit_seconds_count") or 0.0


@pytest.fixture
def recorder(database: Database) -> Iterator[Recorder]:
    made = Recorder(database, clock=SystemClock())
    made.start()
    yield made
    made.stop()


def stored(database: Database) -> list[str]:
    with database.read() as unit:
        return [row.id for row in search(unit, limit=1000)][::-1]


def test_the_record_has_the_columns_of_the_table() -> None:
    columns = {column.name for column in table_of(Interaction).columns}
    names = set(InteractionRecord.__struct_fields__)
    assert names - {"spendings", "paired_bad"} == columns


def test_what_is_put_is_stored_as_it_is(database: Database, recorder: Recorder) -> None:
    full = record(
        task_revision="0123456789abcdef",
        error_code="x",
        raw="nul \0 and ☃",
        probabilities={"positive": 0.25},
        reference="up/a",
        hosting="local",
        arm="candidate",
        route_revision=3,
        weight_bp=1_000,
        rescued=True,
        unit="u" * 32,
        subject="s" * 32,
        tags={"a": "b"},
        input_tokens=7,
        output_tokens=3,
        cost=0.125,
        key_id=new_id(),
    )
    recorder.put(full)
    recorder.flush()
    with database.read() as unit:
        assert get(unit, full.id) == full


@settings(max_examples=25, deadline=None)
@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_any_text_survives(text: str) -> None:
    database = Database("sqlite://")
    try:
        table_of(Interaction).metadata.create_all(database.engine)
        row = record(input=text, raw=text, tags={"t": text})
        with database.write() as unit:
            insert(unit, [row])
            assert get(unit, row.id) == row
    finally:
        database.close()


def test_every_row_of_many_threads_is_stored_once(database: Database, recorder: Recorder) -> None:
    rows = [[record() for _ in range(200)] for _ in range(4)]

    def put_all(mine: list[InteractionRecord]) -> None:
        for row in mine:
            recorder.put(row)

    threads = [threading.Thread(target=put_all, args=(mine,)) for mine in rows]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.flush()
    assert stored(database) == sorted(row.id for mine in rows for row in mine)


def test_rows_are_committed_in_batches(sqlite_database: Database) -> None:
    made = Recorder(sqlite_database, clock=SystemClock())
    rows = [record() for _ in range(2_000)]
    before = commits()
    made.start()
    for row in rows:
        made.put(row)
    made.stop()
    assert 2_000 / BATCH_ROWS <= commits() - before <= 500
    assert made.depth() == 0


def test_an_outage_costs_no_row_and_is_reported(database: Database) -> None:
    outage = Outage(database)
    made = Recorder(database, clock=SystemClock(), on_error=outage.hear)
    made.start()
    rows = [record() for _ in range(20)]
    for row in rows:
        made.put(row)
    assert outage.felt.wait(30)
    with pytest.raises(Unavailable) as caught:
        made.flush(timeout=0.1)
    assert caught.value.code == "record-failed"
    outage.ends()
    made.stop()
    assert stored(database) == [row.id for row in rows]
    assert "interaction" in str(outage.errors[0])


def test_a_full_queue_refuses_and_takes_again(sqlite_database: Database) -> None:
    outage = Outage(sqlite_database)
    made = Recorder(sqlite_database, clock=SystemClock(), queue_rows=5)
    made.start()
    for _ in range(5):
        made.put(record())
    for refused in (made.admit, lambda: made.put(record())):
        with pytest.raises(Unavailable) as caught:
            refused()
        assert caught.value.code == "record-failed"
    outage.ends()
    made.flush()
    made.put(record())
    made.stop()
    assert len(stored(sqlite_database)) == 6


def test_calls_are_refused_once_commits_have_failed_for_two_seconds(
    sqlite_database: Database,
) -> None:
    clock = FrozenClock()
    outage = Outage(sqlite_database)
    made = Recorder(sqlite_database, clock=clock, on_error=outage.hear)
    made.start()
    made.put(record())
    assert outage.felt.wait(30)
    clock.advance(1.9)
    made.admit()
    clock.advance(0.2)
    with pytest.raises(Unavailable) as caught:
        made.admit()
    assert caught.value.code == "record-failed"
    made.put(record())
    outage.ends()
    made.flush()
    made.admit()
    made.stop()
    assert len(stored(sqlite_database)) == 2


def test_with_answer_a_full_queue_drops_counts_and_tells_once_a_second(
    sqlite_database: Database,
) -> None:
    clock, told = FrozenClock(), list[str]()
    made = Recorder(
        sqlite_database,
        clock=clock,
        on_record_failure="answer",
        queue_rows=2,
        on_error=lambda error: told.append(str(error)),
    )
    before = REGISTRY.get_sample_value("inhouse_record_dropped_total") or 0.0
    rows = [record() for _ in range(6)]
    for row in rows[:4]:
        made.admit()
        assert made.put(row) is None
    assert told == ["calls are answered and not recorded"]
    clock.advance(1.5)
    made.put(rows[4])
    assert len(told) == 2
    made.start()
    made.flush()
    made.put(rows[5])
    made.stop()
    made.put(record())
    assert stored(sqlite_database) == [rows[0].id, rows[1].id, rows[5].id]
    assert REGISTRY.get_sample_value("inhouse_record_dropped_total") == before + 4


@pytest.mark.parametrize("bad", [{"raw": "\ud800"}, {"output": object()}, {"input_tokens": 2**70}])
def test_a_row_that_cannot_be_stored_holds_up_no_other(
    database: Database, bad: dict[str, object]
) -> None:
    errors: list[Exception] = []
    made = Recorder(database, clock=SystemClock(), on_error=errors.append)
    rows = [record() for _ in range(9)]
    for row in (*rows[:5], record(**bad), *rows[5:]):
        made.put(row)
    made.start()
    made.stop()
    assert stored(database) == [row.id for row in rows]
    assert errors


def test_a_batch_may_be_written_again(database: Database) -> None:
    rows = [record() for _ in range(3)]
    with database.write() as unit:
        insert(unit, rows[:2])
    with database.write() as unit:
        insert(unit, rows)
    assert stored(database) == [row.id for row in rows]


def test_a_stopped_recorder_takes_nothing(sqlite_database: Database) -> None:
    made = Recorder(sqlite_database, clock=SystemClock())
    made.start()
    made.put(record())
    made.stop()
    made.stop()
    with pytest.raises(Unavailable):
        made.put(record())
    assert len(stored(sqlite_database)) == 1


def test_stop_says_when_rows_are_left(sqlite_database: Database) -> None:
    outage = Outage(sqlite_database)
    made = Recorder(sqlite_database, clock=SystemClock())
    made.start()
    made.put(record())
    with pytest.raises(Unavailable, match="1 interactions are not recorded"):
        made.stop(timeout=0.1)
    outage.ends()
    made.stop()


def test_pseudonyms_are_stable_salted_and_short() -> None:
    assert pseudonym(b"salt", "ann") == pseudonym(b"salt", "ann")
    assert pseudonym(b"salt", "ann") != pseudonym(b"other", "ann")
    assert pseudonym(b"salt", "ann") != pseudonym(b"salt", "bob")
    assert len(pseudonym(b"salt", "\ud800")) == 32
