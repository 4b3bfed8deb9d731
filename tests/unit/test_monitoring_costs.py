"""Cost and latency by task and reference, before and after."""

from __future__ import annotations

from datetime import timedelta

import pytest

from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions import record
from inhouse.monitoring.costs import compare, task_costs
from inhouse.monitoring.queries import Window
from inhouse.testing.clock import FrozenClock


def _calls(
    database: Database,
    clock: FrozenClock,
    reference: str | None,
    latencies: list[float],
    *,
    task: str = "mood",
    cost: float = 0.0,
    arm: str = "incumbent",
) -> None:
    hosting = None if reference is None else "own" if "@" in reference else "external"
    made = [
        record.InteractionRecord(
            id=new_id(),
            created_at=clock.now(),
            status="failed" if reference is None else "answered",
            input="x",
            latency_ms=latency,
            task=task,
            reference=reference,
            hosting=hosting,
            arm=arm,
            cost=cost,
        )
        for latency in latencies
    ]
    with database.write() as unit:
        record.insert(unit, made)


def test_before_and_after(database: Database, clock: FrozenClock) -> None:
    start = clock.now()
    _calls(database, clock, "hosted/large", [float(ms) for ms in range(1, 101)], cost=0.02)
    _calls(database, clock, "hosted/large", [9999.0], cost=9.0, arm="forced")
    _calls(database, clock, None, [30_000.0])
    _calls(database, clock, "hosted/large", [5.0], task="gone")
    clock.advance(3600)
    middle = clock.now()
    _calls(database, clock, "mood@1", [2.0, 1.0, 4.0])
    _calls(database, clock, "hosted/large", [80.0], cost=0.02)
    _calls(database, clock, "tone@1", [1.0], task="tone")
    before = Window(since=start, until=middle)
    after = Window(since=middle, until=middle + timedelta(seconds=1))
    with database.read() as unit:
        changes = {change.task: change for change in compare(unit, before=before, after=after)}
    assert list(changes) == ["gone", "mood", "tone"]
    assert changes["gone"].after is None
    assert changes["tone"].before is None
    assert changes["tone"].saved_per_call is None
    old, new = changes["mood"].before, changes["mood"].after
    assert old is not None
    assert new is not None
    (general,) = old.references
    assert (general.calls, general.p50_ms, general.p95_ms) == (100, 50.0, 95.0)
    assert old.cost == pytest.approx(2.0)
    assert old.own_share == 0.0
    assert [found.reference for found in new.references] == ["hosted/large", "mood@1"]
    own = new.references[1]
    assert (own.hosting, own.calls, own.p50_ms, own.p95_ms) == ("own", 3, 2.0, 4.0)
    assert (own.cost, own.cost_per_call) == (0.0, 0.0)
    assert new.own_share == 0.75
    assert changes["mood"].saved_per_call == pytest.approx(0.02 - 0.005)


def test_nothing_recorded_is_nothing(database: Database, clock: FrozenClock) -> None:
    window = Window(since=clock.now() - timedelta(days=1), until=clock.now())
    with database.read() as unit:
        assert task_costs(unit, window) == []


def test_a_window_ends_after_it_begins(sqlite_database: Database, clock: FrozenClock) -> None:
    with pytest.raises(Invalid), sqlite_database.read() as unit:
        task_costs(unit, Window(since=clock.now(), until=clock.now()))
