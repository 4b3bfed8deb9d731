"""What rollouts wait for, as pages and routes tell it: over rollouts that really went so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

from sqlalchemy import insert

from inhouse.core.ids import new_id
from inhouse.core.states import VersionStatus
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.evaluation.tables import Evaluation
from inhouse.monitoring import attention_stored
from inhouse.monitoring.concern import Code
from inhouse.registry import routes, versions
from inhouse.registry.versions import Version
from inhouse.rollout import history, intake_records, records, steer
from inhouse.rollout.halt import halt
from inhouse.rollout.plan import FULL_BP, Plan, RolloutState
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tables import RolloutIntake
from inhouse.rollout.tally import as_json, from_json
from inhouse.rollout.tell import plain_view
from inhouse.tasks.catalog import Catalog
from inhouse.testing.clock import FrozenClock
from inhouse.testing.rollouts import SPEC, quick_plan
from inhouse.testing.traffic import Traffic
from inhouse.testing.versions import add_version

CATALOG = Catalog([SPEC])
SAID: dict[str, Any] = {"actor": "ada", "reason": "because"}
PLAN = quick_plan(
    steps_bp=(2000, 5000, 8000, FULL_BP),
    margin=0.2,
    first_outcomes=20,
    step_outcomes=20,
    dwell_s=60.0,
    bake_s=60.0,
)


def begin(database: Database, clock: FrozenClock, plan: Plan) -> RolloutRecord:
    with database.write() as unit:
        register(unit, 1, clock)
        return steer.start(unit, SPEC, candidate="tone@1", plan=plan, at=clock.now(), **SAID)


def register(unit: WriteUnit, number: int, clock: FrozenClock) -> Version:
    return add_version(unit, SPEC, clock.now(), store_version=f"2026010{number}T000000Z-0badcafe")


class Ramp:
    """A rollout with a process that sends calls and steps it."""

    def __init__(self, database: Database, clock: FrozenClock, plan: Plan = PLAN) -> None:
        self.database, self.clock = database, clock
        self.id = begin(database, clock, plan).id
        self.traffic = Traffic(database, SPEC, clock)
        self.loop = Reconciler(database, clock, CATALOG)

    def go(self, times: int, calls: int = 10, bad: tuple[float, float] = (0.02, 0.02)) -> None:
        for _ in range(times):
            self.clock.advance(5)
            self.traffic.send(calls, bad=bad, latency_ms=(300.0, 4.0))
            self.loop.step(self.id)

    @property
    def now(self) -> RolloutRecord:
        with self.database.read() as unit:
            return records.get(unit, self.id)

    def people(self, verb: Callable[..., DecisionRecord], reason: str = "because") -> None:
        with self.database.write() as unit:
            seen = records.get(unit, self.id, lock=True)
            verb(unit, rollout=seen, actor="ada", reason=reason, at=self.clock.now())

    def seen(self) -> dict[str, Any]:
        with self.database.read() as unit:
            return plain_view(unit, self.id, self.clock.now())


def test_the_checks_are_those_of_the_engine_and_follow_it(
    database: Database, clock: FrozenClock
) -> None:
    ramp = Ramp(database, clock)
    before = ramp.seen()
    assert {one["name"]: one["value"] for one in before["checks"]} == {
        "outcomes": 0,
        "dwell": 0,
        "certificate": 1.0,
        "calm": 0.0,
    }
    assert [one["name"] for one in before["stops"]] == ["mismatch", "horizon", "time"]
    ramp.go(5)
    found = ramp.seen()
    reading = ramp.loop.reading(ramp.id)
    values = {one["name"]: one["value"] for one in found["checks"]}
    assert values["outcomes"] == reading["candidate"] > 0
    assert values["certificate"] == reading["certificate"]
    assert values["dwell"] == 25
    while ramp.now.step == 0:
        ramp.go(1)
    at_once = {one["name"]: one for one in ramp.seen()["checks"]}
    assert at_once["certificate"]["value"] is None, "nothing was counted for this margin yet"
    assert not at_once["certificate"]["met"]
    assert at_once["outcomes"]["value"] == 0
    ramp.go(1)
    assert ramp.seen()["checks"][2]["value"] == ramp.loop.reading(ramp.id)["certificate"]


def test_a_hold_that_was_paused_begins_anew_too(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    """What it was held for would hold it again at once."""
    ramp = Ramp(sqlite_database, clock, replace(PLAN, horizon=40))
    ramp.go(5)
    assert ramp.now.state is RolloutState.HELD
    ramp.people(steer.pause)
    ramp.people(steer.resume)
    assert {one["name"]: one["value"] for one in ramp.seen()["stops"]} == {
        "mismatch": 1.0,
        "horizon": 0,
        "time": 0,
    }
    ramp.go(2)
    assert ramp.now.state is RolloutState.RAMPING
    ramp.people(steer.pause)
    ramp.people(steer.resume)
    ramp.go(1)
    assert ramp.loop.reading(ramp.id)["outcomes"] > 20, "a pause alone forgets nothing"


def test_readings_come_back_as_they_were(sqlite_database: Database, clock: FrozenClock) -> None:
    ramp = Ramp(sqlite_database, clock)
    ramp.go(3)
    with sqlite_database.read() as unit:
        stored = intake_records.last_intake(unit, ramp.id)
        assert stored is not None
    assert as_json(from_json(stored.reading)) == stored.reading
    old = {name: value for name, value in stored.reading.items() if name != "certified"}
    assert as_json(from_json(old))["certified"] == 1.0


def test_a_history_of_20000_intakes_is_thinned_where_it_lies(
    database: Database, clock: FrozenClock
) -> None:
    ramp = Ramp(database, clock)
    ramp.go(1)
    intakes = table_of(RolloutIntake)
    row = {"rollout_id": ramp.id, "upto": {}, "labels": [], "fresh": False, "reading": {"harm": 1}}
    numbers = range(ramp.now.intakes + 1, 3001)
    with database.write() as unit:
        rows = [row | {"number": one, "created_at": clock.now()} for one in numbers]
        unit.execute(insert(intakes), rows)
    with database.read() as unit:
        found = history.readings(unit, ramp.id)
        few = history.readings(unit, ramp.id, 10)
    assert len(found) == 300
    assert found[-1].number == few[-1].number == 3000
    assert {b.number - a.number for a, b in pairwise(found)} == {10}
    assert len(few) == 10


def test_the_arms_are_told_from_the_outcomes(database: Database, clock: FrozenClock) -> None:
    ramp = Ramp(database, clock)
    ramp.go(4, calls=50, bad=(0.0, 0.5))
    with database.read() as unit:
        incumbent, candidate = history.arms(unit, ramp.now)
    assert incumbent.calls + candidate.calls == 200 or ramp.now.is_over
    assert incumbent.bad == 0 < candidate.bad < candidate.calls
    assert incumbent.p50_ms is not None
    assert candidate.p95_ms is not None
    assert 200 < incumbent.p50_ms < 450
    assert candidate.p95_ms < 20
    assert candidate.correct is None


def test_the_kill_switch_ends_rollouts_also_those_that_only_shadow(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    ramp = Ramp(sqlite_database, clock)
    other = replace(SPEC, name="mood")
    shadowing = replace(PLAN, shadow_inputs=100)
    with sqlite_database.write() as unit:
        second = steer.start(
            unit, other, candidate="embedded/new", plan=shadowing, at=clock.now(), **SAID
        )
    with sqlite_database.write() as unit:
        moved = halt(unit, [SPEC, other], actor="ada", reason="stop", at=clock.now())
    assert [route.task for route in moved] == ["tone"], "the other had all its traffic already"
    with sqlite_database.read() as unit:
        assert not records.unfinished(unit)
        assert records.get(unit, second.id).state is RolloutState.ABORTED
        route = routes.current(unit, "tone")
        assert route is not None
        assert route.weight_bp == 0
        assert versions.get(unit, "tone", 1).status is VersionStatus.CANDIDATE
    assert ramp.now.state is RolloutState.ABORTED


def test_what_waits_for_a_person(sqlite_database: Database, clock: FrozenClock) -> None:
    def codes() -> list[Code]:
        with sqlite_database.read() as unit:
            found = [*attention_stored.rollouts(unit, clock.now())]
            return [one.code for one in (*found, *attention_stored.candidates(unit))]

    ramp = Ramp(sqlite_database, clock)
    ramp.people(steer.pause, "labels are late")
    clock.advance(3600)
    assert codes() == []
    clock.advance(86_400)
    assert codes() == [Code.ROLLOUT_PAUSED]
    ramp.people(partial(steer.rollback, spec=SPEC))
    passed(sqlite_database, clock)
    assert codes() == [Code.CANDIDATE_WAITS]
    with sqlite_database.write() as unit:
        steer.start(unit, SPEC, candidate="tone@2", plan=PLAN, at=clock.now(), **SAID)
    assert codes() == []


def passed(database: Database, clock: FrozenClock) -> None:
    """A second version, whose evaluation was passed."""
    with database.write() as unit:
        version = register(unit, 2, clock)
        row = {
            "id": new_id(),
            "task": SPEC.name,
            "task_revision": SPEC.revision,
            "candidate": version.reference,
            "version_id": version.id,
            "snapshot_id": new_id(),
            "split": "test",
            "status": "succeeded",
            "verdict": "pass",
            "settings": {},
            "created_at": clock.now(),
            "finished_at": clock.now(),
        }
        unit.execute(insert(table_of(Evaluation)).values(**row))
