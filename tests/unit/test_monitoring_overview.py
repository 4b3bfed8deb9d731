"""The overview: who answered over time, tasks with their journey, what needs somebody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import BackendError
from inhouse.core.ids import new_id
from inhouse.db.unit import Database, WriteUnit
from inhouse.feedback.submit import submit
from inhouse.gateway.breakers import Breakers
from inhouse.interactions.filters import Facets
from inhouse.interactions.record import InteractionRecord, Recorder, insert
from inhouse.monitoring.activity import activity
from inhouse.monitoring.attention import Server
from inhouse.monitoring.concern import Level
from inhouse.monitoring.overview import Overview, Period, hours_of, overview
from inhouse.registry import routes
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.training import runs

SPEC = TaskSpec(
    name="mood",
    kind=TaskKind.CHOICE,
    description="",
    labels=("bad", "good"),
    prompt="{{ input }}",
    chain=("up/a", "up/b"),
)
IDLE = TaskSpec(name="idle", kind=TaskKind.TEXT, description="", prompt="", chain=("up/a",))


@pytest.fixture
def server(database: Database, clock: FrozenClock, tmp_path: Path) -> Iterator[Server]:
    recorder = Recorder(database, clock=clock)
    recorder.start()
    yield Server(
        breakers=Breakers(clock=clock, jitter=lambda: 0.0, failures=1, open_s=60.0),
        store=ModelStore(tmp_path / "store", clock),
        recorder=recorder,
        settings_error="",
    )
    recorder.stop()


def _calls(unit: WriteUnit, clock: FrozenClock, count: int, **values: Any) -> list[str]:
    fields = {
        "created_at": clock.now(),
        "status": "answered",
        "input": "x",
        "latency_ms": 10.0,
        "task": "mood",
        "task_revision": SPEC.revision,
        "reference": "up/a",
        "hosting": "external",
        "arm": "incumbent",
        **values,
    }
    made = [InteractionRecord(id=new_id(), **fields) for _ in range(count)]
    insert(unit, made)
    return [record.id for record in made]


def _look(
    database: Database, clock: FrozenClock, server: Server, period: Period = Period.DAY
) -> Overview:
    with database.read() as unit:
        return overview(unit, [SPEC, IDLE], server, now=clock.now(), period=period)


def test_who_answered_how_fast_at_what_cost(
    database: Database, clock: FrozenClock, server: Server
) -> None:
    with database.write() as unit:
        _calls(unit, clock, 9, arm="forced", cost=5.0)
        _calls(unit, clock, 9, arm="imported")
        _calls(unit, clock, 2, cost=0.5)
        _calls(unit, clock, 1, task=None, cost=1.0)
        clock.advance(5 * 3600)
        _calls(unit, clock, 6, reference="mood@1", hosting="own", latency_ms=2.0)
        _calls(unit, clock, 1, status="failed", reference=None, hosting=None, latency_ms=900.0)
        _calls(unit, clock, 1, task="gone")
    found = _look(database, clock, server)
    assert [task.task for task in found.tasks] == ["mood", "gone", "idle"]
    mood, gone, idle = found.tasks
    assert (mood.own, mood.external, mood.unanswered, mood.calls) == (6, 2, 1, 9)
    assert (mood.success, mood.own_share) == (pytest.approx(8 / 9), 0.75)
    assert mood.p50_ms == pytest.approx(2.0, rel=0.12)
    assert mood.p95_ms == pytest.approx(10.0, rel=0.12)
    assert (mood.cost, found.cost) == (pytest.approx(1.0), pytest.approx(2.0))
    assert (gone.declared, idle.declared) == (False, True)
    assert (idle.calls, idle.success, idle.p50_ms, idle.incumbent) == (0, None, None, "up/a")
    assert (found.calls, found.answered, found.own, found.chats) == (10, 9, 6, 1)
    assert found.own_p95_ms == pytest.approx(2.0, rel=0.12)
    assert found.independence.score is not None
    filled = [(slot.own, slot.external, slot.unanswered) for slot in found.slots if slot.external]
    assert filled == [(0, 2, 0), (6, 1, 1)]
    assert len(found.slots) == 25
    week = _look(database, clock, server, Period.WEEK)
    assert (week.calls, len(week.slots)) == (10, 8)
    assert sum(slot.own for slot in week.slots) == 6


def test_calls_leave_the_window_by_the_hour(
    database: Database, clock: FrozenClock, server: Server
) -> None:
    with database.write() as unit:
        _calls(unit, clock, 3)
    for hours, calls in ((24, 3), (25, 0)):
        now = FrozenClock(clock.now() + timedelta(hours=hours, minutes=59))
        assert _look(database, now, server).calls == calls
    month = FrozenClock(clock.now() + timedelta(days=30, minutes=59))
    assert _look(database, month, server, Period.MONTH).calls == 3


def test_the_journey_of_a_task(database: Database, clock: FrozenClock, server: Server) -> None:
    with database.write() as unit:
        ids = _calls(unit, clock, 2)
        for value in ("good", "bad"):
            submit(
                unit,
                interaction_id=ids[0],
                kind="correction",
                value=value,
                author="desk",
                idempotency_key=None,
                at=clock.now(),
                catalog=Catalog([SPEC]),
            )
        run = _run(unit, clock)
        runs.fail(unit, run, "out of memory", at=clock.now())
        routes.append(unit, routes.implicit("mood", SPEC.chain), expect=0, at=clock.now())
    found = _look(database, clock, server)
    journey = found.tasks[0].journey
    assert (journey.corrections, journey.run, journey.version) == (1, "failed", None)
    (concern,) = found.attention
    assert (concern.code, concern.level, concern.about) == ("training-failed", Level.WARN, run)
    assert "out of memory" in concern.text


def _run(unit: WriteUnit, clock: FrozenClock) -> str:
    run = runs.create(
        unit,
        run_id=new_id(),
        job_id=new_id(),
        task="mood",
        task_revision=SPEC.revision,
        recipe="encoder_head.v1",
        settings={},
        snapshot_id=new_id(),
        snapshot_hash="0" * 64,
        actor="desk",
        at=clock.now(),
    )
    runs.start(unit, run.id, at=clock.now())
    return str(run.id)


def test_what_fails_stands_first(database: Database, clock: FrozenClock, server: Server) -> None:
    with database.write() as unit:
        _calls(unit, clock, 30)
        _calls(unit, clock, 3, status="failed", reference=None, hosting=None)
    guard = server.breakers.of("up/a")
    ticket = guard.start(clock.monotonic())
    error = BackendError("no route to host", code="connect")
    guard.end(ticket, clock.monotonic(), 0.1, error)
    told = Server(
        breakers=server.breakers,
        store=server.store,
        recorder=server.recorder,
        settings_error="line 3: unknown key",
    )
    found = _look(database, clock, told).attention
    assert [one.code for one in found] == ["settings-invalid", "breaker-open", "calls-fail"]
    assert {one.level for one in found} == {Level.BAD}
    assert "no route to host" in found[1].text
    assert "3 of 33" in found[2].text


def test_activity_over_time_and_by_facet(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        _calls(unit, clock, 4)
        clock.advance(3600)
        _calls(unit, clock, 2, status="failed", reference=None, hosting=None)
        _calls(unit, clock, 1, task=None, arm="forced")
    with database.read() as unit:
        all_of_it = activity(unit, Facets(), hours_of(Period.DAY, clock.now()))
        failed = activity(unit, Facets(status="failed"), hours_of(Period.MONTH, clock.now()))
    assert (all_of_it.calls, all_of_it.failed) == (7, 2)
    assert [(s.calls, s.failed) for s in all_of_it.slots][-2:] == [(4, 0), (3, 2)]
    assert (failed.calls, len(failed.slots)) == (2, 31)
    assert [(one.value, one.calls) for one in failed.facets["status"]] == [
        ("answered", 5),
        ("failed", 2),
    ]
