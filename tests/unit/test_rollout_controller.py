"""The controller: one process steps a rollout, another takes over when it is gone."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from sqlalchemy import event

from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.jobs import pause
from inhouse.registry import routes
from inhouse.rollout import records, steer
from inhouse.rollout.controller import Controller
from inhouse.rollout.plan import FULL_BP, RolloutState
from inhouse.rollout.reconcile import Reconciler
from inhouse.tasks.catalog import Catalog
from inhouse.testing.clock import FrozenClock
from inhouse.testing.rollouts import SPEC, quick_plan
from inhouse.testing.traffic import Traffic

PLAN = quick_plan(
    steps_bp=(5000, FULL_BP),
    margin=0.2,
    first_outcomes=20,
)


def begin(database: Database, clock: FrozenClock | SystemClock) -> records.RolloutRecord:
    with database.write() as unit:
        return steer.start(
            unit,
            SPEC,
            candidate="embedded/new",
            plan=PLAN,
            actor="ada",
            reason="",
            at=clock.now(),
        )


def controller(database: Database, clock: FrozenClock | SystemClock, name: str) -> Controller:
    return Controller(database, clock, Catalog([SPEC]), name=name)


def owner_of(database: Database, rollout: records.RolloutRecord) -> str | None:
    with database.read() as unit:
        return records.get(unit, rollout.id).lease_owner


def test_who_has_the_lease_steps(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    first, second = (controller(database, clock, name) for name in ("first", "second"))
    assert first.tick() == []
    assert owner_of(database, rollout) == "first"
    Traffic(database, SPEC, clock).send(400)
    assert second.tick() == []
    assert owner_of(database, rollout) == "first"
    [made] = first.tick()
    assert made.kind == "bake"
    clock.advance(11)
    Traffic(database, SPEC, clock, process="g2").send(400, bad=(0.0, 0.9))
    [made] = second.tick()
    assert made.kind == "roll_back"
    assert first.tick() == second.tick() == []


def test_a_lease_of_a_wrong_clock_does_not_hold(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock)
    clock.advance(10**6)
    controller(sqlite_database, clock, "first").tick()
    clock.advance(-(10**6))
    controller(sqlite_database, clock, "second").tick()
    assert owner_of(sqlite_database, rollout) == "second"


def test_while_jobs_are_paused_a_rollout_only_goes_back(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock)
    first = controller(sqlite_database, clock, "first")
    with sqlite_database.write() as unit:
        pause.pause(unit, actor="ada", reason="", at=clock.now())
    Traffic(sqlite_database, SPEC, clock).send(400)
    assert first.tick() == []
    with sqlite_database.write() as unit:
        pause.resume(unit)
    [made] = first.tick()
    assert made.kind == "bake"
    with sqlite_database.write() as unit:
        pause.pause(unit, actor="ada", reason="", at=clock.now())
    Traffic(sqlite_database, SPEC, clock, process="g2").send(400, bad=(0.0, 0.9))
    [made] = first.tick()
    assert (made.rollout_id, made.kind) == (rollout.id, "roll_back")


def test_a_thread_steps_and_gives_its_leases_up(sqlite_database: Database) -> None:
    clock = SystemClock()
    rollout = begin(sqlite_database, clock)
    Traffic(sqlite_database, SPEC, clock).send(400, bad=(0.0, 0.9))
    thread = controller(sqlite_database, clock, "first")
    ended = threading.Event()

    @event.listens_for(sqlite_database.engine, "after_cursor_execute")
    def look(_c: object, _u: object, statement: str, *_: object) -> None:
        if statement.startswith("INSERT INTO rollout_decision"):
            ended.set()

    thread.start()
    assert ended.wait(30)
    thread.stop()
    thread.stop()
    with sqlite_database.read() as unit:
        assert records.get(unit, rollout.id).state is RolloutState.ROLLED_BACK
        assert records.get(unit, rollout.id).lease_owner is None
        route = routes.current(unit, "tone")
        assert route is not None
        assert route.weight_bp == 0


def test_one_that_fails_again_and_again_is_told_once(
    sqlite_database: Database,
    clock: FrozenClock,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What goes well in between, such as the look at what runs, does not tell it anew."""
    begin(sqlite_database, clock)
    loop = controller(sqlite_database, clock, "one")
    step, faults = Reconciler.step, [ValueError("odd")] * 3

    def fails(self: Reconciler, rollout_id: str) -> records.DecisionRecord | None:
        if faults:
            raise faults.pop()
        return step(self, rollout_id)

    monkeypatch.setattr(Reconciler, "step", fails)
    for _ in range(3):
        loop.tick()
    assert caplog.messages == ["rollouts are not stepped"]
    loop.tick()
    faults.append(ValueError("odd again"))
    loop.tick()
    assert len(caplog.messages) == 2


def test_a_database_that_is_gone_is_survived(
    tmp_path: Path, clock: FrozenClock, caplog: pytest.LogCaptureFixture
) -> None:
    empty = Database(f"sqlite:///{tmp_path / new_id()}.db")
    waiting = controller(empty, clock, "first")
    assert waiting.tick() == []
    assert waiting.tick() == []
    empty.close()
    assert caplog.messages == ["rollouts are not stepped"]
