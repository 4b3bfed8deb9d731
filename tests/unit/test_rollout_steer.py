"""What people do with rollouts: every verb moves rollout, route and status together, or nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inhouse.core.errors import Conflict, InhouseError, Invalid, NotFound
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.registry import move, routes, versions
from inhouse.registry.versions import Version
from inhouse.rollout import intake_records, records, steer
from inhouse.rollout.declared import adjusted, as_json, check_plans, from_json, plan_of
from inhouse.rollout.plan import Metric, Plan, RolloutState
from inhouse.rollout.records import RolloutRecord
from inhouse.settings import RolloutSettings, load_settings
from inhouse.tasks.spec import TaskSpec, Unit
from inhouse.testing.clock import FrozenClock
from inhouse.testing.rollouts import SPEC
from inhouse.testing.versions import add_version

SAID: dict[str, Any] = {"actor": "ada", "reason": "because"}


def register(unit: WriteUnit, clock: FrozenClock, spec: TaskSpec = SPEC) -> Version:
    return add_version(unit, spec, clock.now())


def begin(
    unit: WriteUnit, clock: FrozenClock, to: str = "tone@1", plan: Plan | None = None, **more: Any
) -> RolloutRecord:
    plan = plan or Plan()
    return steer.start(unit, SPEC, candidate=to, plan=plan, at=clock.now(), **SAID, **more)


def status(unit: ReadUnit, number: int = 1) -> VersionStatus:
    return versions.get(unit, "tone", number).status


def route_of(unit: ReadUnit) -> routes.Route:
    route = routes.current(unit, "tone")
    assert route is not None
    return route


def test_a_plan_is_what_is_declared() -> None:
    assert plan_of(RolloutSettings()) == Plan()
    declared = RolloutSettings(
        steps=(2.5, 50, 100),
        min_success=0,
        max_p95_s=0,
        min_score=0.8,
        first_calls=7,
        hold_back=0,
        guardrails=("success", "error"),
        observed=("p99",),
    )
    plan = plan_of(declared, dwell_s=1.5)
    assert plan.steps_bp == (250, 5000, 10_000)
    assert (plan.min_success, plan.max_p95_s, plan.min_score) == (None, None, 0.8)
    assert (plan.first_outcomes, plan.hold_back_bp, plan.dwell_s) == (7, 0, 1.5)
    assert plan.guardrails == (Metric.SUCCESS, Metric.ERROR)
    assert from_json(as_json(plan)) == plan
    with pytest.raises(Invalid, match="steps"):
        plan_of(RolloutSettings(steps=(10, 5)))


def test_a_plan_is_refused_where_it_is_declared(tmp_path: Path) -> None:
    tasks = '[tasks.one]\nbuiltin = "bias"\n[tasks.two]\nbuiltin = "bias"\n[tasks.two.rollout]\n'
    (tmp_path / "inhouse.toml").write_text(f"{tasks}steps = [50, 10]\n", encoding="utf-8")
    with pytest.raises(Invalid, match=r"toml:5: tasks\.two\.rollout: the steps must rise"):
        check_plans(load_settings(tmp_path, {}))


def test_a_judge_of_experiments_alone_judges_no_rollout() -> None:
    declared = RolloutSettings(judge="up/judge")
    assert plan_of(declared).judge == ""
    assert plan_of(adjusted(declared, {"audit": 0.1})).judge == "up/judge"
    with pytest.raises(Invalid, match="needs a share of calls"):
        adjusted(RolloutSettings(), {"judge": "up/judge"})
    with pytest.raises(Invalid, match=r"steps\.1"):
        adjusted(RolloutSettings(), {"steps": [10, 1e308]})
    with pytest.raises(Invalid, match="at most 100 items"):
        adjusted(RolloutSettings(), {"steps": [number / 10 for number in range(1, 1001)]})


def test_a_rollout_starts_at_its_first_step(database: Database, clock: FrozenClock) -> None:
    plan = replace(Plan(), margin=0.1)
    with database.write() as unit:
        register(unit, clock)
        begun = begin(unit, clock, plan=plan)
    with database.read() as unit:
        route = route_of(unit)
        assert records.get(unit, begun.id) == begun
        assert records.open_of(unit, "tone") == begun
        assert records.unfinished(unit) == [begun]
        assert records.list_rollouts(unit, "other") == []
        [made] = records.decisions(unit, begun.id)
        [first] = intake_records.list_intakes(unit, begun.id)
        assert records.first_revision(unit, begun.id) == route.revision == begun.route_revision
        assert intake_records.last_intake(unit, begun.id) is None
    assert begun.plan == plan
    assert (begun.state, begun.incumbent) == (RolloutState.RAMPING, "embedded/general")
    assert (route.candidate, route.weight_bp, route.salt) == ("tone@1", 1000, begun.salt)
    assert (made.kind, made.actor, made.reasons) == ("start", "ada", ("because",))
    assert (made.before, made.weight_bp) == (RolloutState.PLANNED, 1000)
    assert first.fresh
    assert not begun.by_user
    with database.read() as unit, pytest.raises(NotFound, match="no rollout"):
        records.get(unit, "nothing")


def test_a_shadow_gets_no_traffic(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        register(unit, clock)
        begun = begin(unit, clock, plan=replace(Plan(), shadow_inputs=100))
        assert begun.state is RolloutState.SHADOWING
        assert (route_of(unit).candidate, route_of(unit).weight_bp) == ("tone@1", 0)


def test_users_and_documents_count_as_units(sqlite_database: Database, clock: FrozenClock) -> None:
    spec = replace(SPEC, unit=Unit.USER)
    with sqlite_database.write() as unit:
        begun = steer.start(unit, spec, candidate="embedded/x", plan=Plan(), at=clock.now(), **SAID)
    assert begun.by_user


def test_only_one_rollout_of_a_task_runs(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        register(unit, clock)
        register(unit, clock)
        first = begin(unit, clock)
    with database.write() as unit, pytest.raises(Conflict) as caught:
        begin(unit, clock, "tone@2")
    assert caught.value.code == "rollout-running"
    with database.write() as unit:
        second = begin(unit, clock, "tone@2", replace=True)
        old = records.get(unit, first.id)
        assert old.superseded_by == "tone@2"
        assert (old.state, old.ended_at) == (RolloutState.ABORTED, clock.now())
        assert status(unit) is VersionStatus.CANDIDATE
        assert records.unfinished(unit) == [second]
        weights = [(one.candidate, one.weight_bp) for one in routes.history(unit, "tone")]
        assert weights == [("tone@2", 1000), ("tone@1", 0), ("tone@1", 1000)]
        assert second.salt != first.salt
        assert second.incumbent == "embedded/general"


def test_what_runs_comes_first_however_old_it_is(database: Database, clock: FrozenClock) -> None:
    other = replace(SPEC, name="mood")
    with database.write() as unit:
        running = steer.start(
            unit, other, candidate="embedded/new", plan=Plan(), at=clock.now(), **SAID
        )
        for _ in range(3):
            clock.advance(1)
            begun = begin(unit, clock, to="embedded/new")
            steer.abort(unit, SPEC, begun, at=clock.now(), **SAID)
        found = records.list_rollouts(unit, limit=2, running_first=True)
        newest = records.list_rollouts(unit, limit=2)
    assert [one.id for one in found] == [running.id, begun.id]
    assert [one.task for one in newest] == ["tone", "tone"]


def test_what_answers_everything_is_the_incumbent(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        register(unit, clock)
        register(unit, clock)
        move.set_weight(unit, SPEC, candidate="tone@1", percent=100, at=clock.now(), **SAID)
        begun = begin(unit, clock, "tone@2")
        assert begun.incumbent == route_of(unit).incumbent == "tone@1"
        assert status(unit) is VersionStatus.ACTIVE
        assert route_of(unit).weight_bp == 1000


def _split(unit: WriteUnit, clock: FrozenClock) -> None:
    move.set_weight(unit, SPEC, candidate="tone@1", percent=30, at=clock.now(), **SAID)


def _pinned(unit: WriteUnit, clock: FrozenClock) -> None:
    move.pin(unit, SPEC, "tone@1", at=clock.now(), **SAID)


def _rejected(unit: WriteUnit, clock: FrozenClock) -> None:
    found = versions.get(unit, "tone", 1)
    versions.set_status(
        unit, found.id, VersionStatus.REJECTED, by="gate", why="worse", at=clock.now()
    )


@pytest.mark.parametrize(
    ("prepare", "to", "code"),
    [
        (None, "embedded/general", "rollout-candidate"),
        (None, "tone@9", "version-not-found"),
        (None, "task:tone", "reference"),
        (_split, "tone@1", "route-split"),
        (_pinned, "tone@1", "route-pinned"),
        (_rejected, "tone@1", "version-status"),
    ],
)
def test_what_cannot_start_changes_nothing(
    sqlite_database: Database, clock: FrozenClock, prepare: Any, to: str, code: str
) -> None:
    with sqlite_database.write() as unit:
        register(unit, clock)
        if prepare is not None:
            prepare(unit, clock)
        before = routes.history(unit, "tone")
    with pytest.raises(InhouseError) as caught, sqlite_database.write() as unit:
        begin(unit, clock, to)
    assert caught.value.code == code
    with sqlite_database.read() as read:
        assert routes.history(read, "tone") == before
        assert records.list_rollouts(read) == []


def test_pause_stays_and_resume_goes_on(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        register(unit, clock)
        begun = begin(unit, clock)
        with pytest.raises(Conflict, match="ramping"):
            steer.resume(unit, begun, at=clock.now(), **SAID)
        made = steer.pause(unit, begun, at=clock.now(), **SAID)
        assert (made.kind, made.weight_bp, made.number) == ("pause", 1000, 2)
        with pytest.raises(Conflict, match="changed meanwhile"):
            steer.pause(unit, begun, at=clock.now(), **SAID)
        paused = records.get(unit, begun.id)
        assert (paused.state, paused.stopped_from) == (RolloutState.PAUSED, RolloutState.RAMPING)
        assert route_of(unit).revision == begun.route_revision
        with pytest.raises(Conflict, match="cannot become paused"):
            steer.pause(unit, paused, at=clock.now(), **SAID)
        made = steer.resume(unit, paused, at=clock.now(), **SAID)
        assert (made.before, made.state) == (RolloutState.PAUSED, RolloutState.RAMPING)
        again = records.get(unit, begun.id)
        assert (again.stopped_from, again.revision) == (None, begun.revision + 2)


def test_a_rollback_rejects_and_an_abort_does_not(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        register(unit, clock)
        begun = begin(unit, clock)
        steer.abort(unit, SPEC, begun, at=clock.now(), **SAID)
        assert status(unit) is VersionStatus.CANDIDATE
        assert route_of(unit).weight_bp == 0
        begun = begin(unit, clock)
        made = steer.rollback(unit, SPEC, begun, at=clock.now(), **SAID)
        assert (made.kind, made.state) == ("roll_back", RolloutState.ROLLED_BACK)
        assert made.route_revision == route_of(unit).revision
        rejected = versions.get(unit, "tone", 1).rejected
        assert rejected == {"by": "ada", "why": "because", "at": clock.now().isoformat()}
        assert records.unfinished(unit) == []
        ended = records.get(unit, begun.id)
        assert ended.is_over
        with pytest.raises(Conflict, match="rolled_back"):
            steer.rollback(unit, SPEC, ended, at=clock.now(), **SAID)


def test_a_route_that_somebody_moved_on_stays(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        register(unit, clock)
        register(unit, clock)
        begun = begin(unit, clock)
        move.set_weight(unit, SPEC, candidate="tone@2", percent=20, at=clock.now(), **SAID)
        steer.rollback(unit, SPEC, begun, at=clock.now(), **SAID)
        assert (route_of(unit).candidate, route_of(unit).weight_bp) == ("tone@2", 2000)
        assert records.unfinished(unit) == []


def test_a_promotion_makes_the_candidate_the_incumbent(
    database: Database, clock: FrozenClock
) -> None:
    with database.write() as unit:
        register(unit, clock)
        move.set_weight(unit, SPEC, candidate="tone@1", percent=95, at=clock.now(), **SAID)
        with pytest.raises(Conflict, match="not the candidate"):
            move.promote(unit, SPEC, candidate="embedded/x", at=clock.now(), **SAID)
        route = move.promote(unit, SPEC, candidate="tone@1", at=clock.now(), **SAID)
        assert (route.incumbent, route.candidate, route.weight_bp) == ("tone@1", None, 0)
        assert status(unit) is VersionStatus.ACTIVE
        register(unit, clock)
        move.set_weight(unit, SPEC, candidate="tone@2", percent=100, at=clock.now(), **SAID)
        assert (status(unit, 1), status(unit, 2)) == (
            VersionStatus.DEPRECATED,
            VersionStatus.ACTIVE,
        )
        back = move.send_back(unit, SPEC, reject=True, at=clock.now(), **SAID)
        assert (back.incumbent, back.weight_bp) == ("tone@1", 0)
        assert (status(unit, 1), status(unit, 2)) == (VersionStatus.ACTIVE, VersionStatus.REJECTED)
        move.set_weight(unit, SPEC, candidate="embedded/x", percent=5, at=clock.now(), **SAID)
        move.promote(unit, SPEC, candidate="embedded/x", at=clock.now(), **SAID)
        assert status(unit, 1) is VersionStatus.DEPRECATED
