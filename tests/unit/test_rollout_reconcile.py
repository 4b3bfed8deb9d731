"""The reconcile loop over recorded calls: it ends as the evidence says, and never by halves."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from typing import Any

from inhouse.core.ids import new_id
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database
from inhouse.feedback.submit import submit
from inhouse.gateway.shadow import Target
from inhouse.interactions.insert import insert
from inhouse.interactions.record import InteractionRecord
from inhouse.jobs import pause
from inhouse.registry import move, routes, versions
from inhouse.rollout import intake_records, records, steer
from inhouse.rollout.decide import Kind
from inhouse.rollout.guardrails import ShadowEvidence
from inhouse.rollout.plan import FULL_BP, Metric, Plan, RolloutState
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.shadowed import targets
from inhouse.tasks.catalog import Catalog
from inhouse.testing.clock import FrozenClock
from inhouse.testing.rollouts import SPEC, quick_plan
from inhouse.testing.traffic import Traffic
from inhouse.testing.versions import add_version

CATALOG = Catalog([SPEC])
SAID: dict[str, Any] = {"actor": "ada", "reason": "because"}
PLAN = quick_plan(
    steps_bp=(5000, 8000, FULL_BP),
    margin=0.2,
    first_outcomes=20,
    step_outcomes=20,
    bake_s=60.0,
)


def begin(database: Database, clock: FrozenClock, plan: Plan = PLAN) -> RolloutRecord:
    with database.write() as unit:
        add_version(unit, SPEC, clock.now())
        return steer.start(unit, SPEC, candidate="tone@1", plan=plan, at=clock.now(), **SAID)


def reconciler(database: Database, clock: FrozenClock) -> Reconciler:
    return Reconciler(database, clock, CATALOG)


def now(database: Database, rollout: RolloutRecord) -> RolloutRecord:
    with database.read() as unit:
        return records.get(unit, rollout.id)


def route_of(database: Database) -> routes.Route:
    with database.read() as unit:
        route = routes.current(unit, SPEC.name)
    assert route is not None
    return route


def drive(
    database: Database,
    clock: FrozenClock,
    rollout: RolloutRecord,
    *,
    most: int = 40,
    step_s: float = 10.0,
    **traffic: Any,
) -> list[DecisionRecord]:
    """Calls and steps in turn, until it stands or has ended."""
    calls, steps = Traffic(database, SPEC, clock), reconciler(database, clock)
    made: list[DecisionRecord] = []
    for _ in range(most):
        state = now(database, rollout).state
        if state in (RolloutState.DONE, RolloutState.ROLLED_BACK, RolloutState.HELD):
            break
        calls.send(100, **traffic)
        clock.advance(step_s)
        found = steps.step(rollout.id)
        if found is not None:
            made.append(found)
    return made


def check_replay(database: Database, clock: FrozenClock, rollout: RolloutRecord) -> None:
    """What is stored gives the reading that was stored with it."""
    with database.read() as unit:
        stored = intake_records.list_intakes(unit, rollout.id)
    assert stored
    last = stored[-1]
    if not last.fresh:
        again = reconciler(database, clock).reading(rollout.id)
        for name in ("outcomes", "candidate", "harm", "fresh", "mismatch"):
            if name in last.reading:
                assert again[name] == last.reading[name], name


def test_an_equal_candidate_becomes_the_incumbent(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    made = drive(database, clock, rollout, bad=(0.02, 0.02))
    assert [one.kind for one in made] == ["advance", "bake", "finish"]
    assert [one.weight_bp for one in made] == [8000, 9500, FULL_BP]
    assert all(one.actor == "rollout" for one in made)
    assert all(one.reasons for one in made)
    assert made[0].evidence["certificate"] >= 20
    ended, route = now(database, rollout), route_of(database)
    assert (ended.state, ended.ended_at) == (RolloutState.DONE, clock.now())
    assert (route.incumbent, route.candidate, route.weight_bp) == ("tone@1", None, 0)
    assert route.revision == ended.route_revision == made[-1].route_revision
    with database.read() as unit:
        assert versions.get(unit, "tone", 1).status is VersionStatus.ACTIVE
        assert records.unfinished(unit) == []
        assert [one.number for one in records.decisions(unit, rollout.id)] == [1, 2, 3, 4]
        numbers = [one.number for one in intake_records.list_intakes(unit, rollout.id)]
    assert numbers == list(range(1, ended.intakes + 1))
    assert reconciler(database, clock).step(rollout.id) is None
    check_replay(database, clock, ended)


def test_a_worse_candidate_goes_back_and_is_rejected(
    database: Database, clock: FrozenClock
) -> None:
    rollout = begin(database, clock)
    [made] = drive(database, clock, rollout, bad=(0.02, 0.8))
    assert (made.kind, made.state) == ("roll_back", RolloutState.ROLLED_BACK)
    assert "worse than the incumbent" in made.reasons[0]
    assert made.evidence["harm"] >= 20
    assert route_of(database).weight_bp == 0
    with database.read() as unit:
        version = versions.get(unit, "tone", 1)
        [intake] = [one for one in intake_records.list_intakes(unit, rollout.id) if not one.fresh]
        assert records.unfinished(unit) == []
    assert version.status is VersionStatus.REJECTED
    assert version.rejected is not None
    assert version.rejected["by"] == "rollout"
    assert intake.upto["g1"] < 100, "it decides after every outcome, not after a hundred"
    assert intake.reading["harm"] == made.evidence["harm"]
    check_replay(database, clock, rollout)


def test_harm_ends_it_also_while_a_person_holds_it(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock)
    with sqlite_database.write() as unit:
        steer.pause(unit, rollout, at=clock.now(), **SAID)
    made = drive(sqlite_database, clock, rollout, most=5, bad=(0.02, 0.02))
    assert made == []
    assert now(sqlite_database, rollout).state is RolloutState.PAUSED
    [made_] = drive(sqlite_database, clock, rollout, bad=(0.02, 0.9))
    assert made_.kind == Kind.ROLL_BACK


def test_what_is_not_certain_is_held_until_somebody_resumes(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    plan = replace(PLAN, horizon=150, margin=0.01)
    rollout = begin(sqlite_database, clock, plan)
    [made] = drive(sqlite_database, clock, rollout, bad=(0.1, 0.1))
    assert (made.kind, made.weight_bp) == ("hold", 5000)
    assert "no verdict" in made.reasons[0]
    held = now(sqlite_database, rollout)
    assert (held.state, held.stopped_from) == (RolloutState.HELD, RolloutState.RAMPING)
    with sqlite_database.write() as unit:
        steer.resume(unit, held, at=clock.now(), **SAID)
    steps = reconciler(sqlite_database, clock)
    Traffic(sqlite_database, SPEC, clock, process="g2").send(50)
    assert steps.step(rollout.id) is None
    assert now(sqlite_database, rollout).state is RolloutState.RAMPING
    with sqlite_database.read() as unit:
        last = intake_records.last_intake(unit, rollout.id)
    assert last is not None
    assert last.reading["outcomes"] < 150, "the evidence began anew"
    check_replay(sqlite_database, clock, rollout)


def test_a_moved_route_ends_it_and_stays(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    with database.write() as unit:
        move.set_weight(unit, SPEC, candidate=None, percent=7, at=clock.now(), **SAID)
    made = reconciler(database, clock).step(rollout.id)
    assert made is not None
    assert (made.kind, made.route_revision) == ("abort", None)
    assert "somebody moved the route" in made.reasons[0]
    assert route_of(database).weight_bp == 700
    with database.read() as unit:
        assert versions.get(unit, "tone", 1).status is VersionStatus.CANDIDATE
        assert records.unfinished(unit) == []


def test_a_candidate_that_was_rejected_meanwhile_ends_it(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock)
    with sqlite_database.write() as unit:
        found = versions.get(unit, "tone", 1)
        versions.set_status(
            unit, found.id, VersionStatus.REJECTED, by="ada", why="no", at=clock.now()
        )
    made = reconciler(sqlite_database, clock).step(rollout.id)
    assert made is not None
    assert made.kind == "abort"
    assert route_of(sqlite_database).weight_bp == 0


def test_a_task_that_is_not_declared_waits(sqlite_database: Database, clock: FrozenClock) -> None:
    rollout = begin(sqlite_database, clock)
    assert Reconciler(sqlite_database, clock, Catalog([])).step(rollout.id) is None
    assert now(sqlite_database, rollout) == rollout


def test_a_process_that_begins_again_has_the_same_evidence(
    database: Database, clock: FrozenClock
) -> None:
    """One remembers, one begins anew with every step; both meet two gateways."""
    rollout = begin(database, clock, replace(PLAN, first_outcomes=10**6))
    gateways = [Traffic(database, SPEC, clock, process=name) for name in ("g2", "g1")]
    lasting = reconciler(database, clock)
    for turn in range(6):
        for gateway in gateways:
            gateway.send(30, bad=(0.1, 0.1))
        steps = lasting if turn % 2 else reconciler(database, clock)
        assert steps.step(rollout.id) is None
        check_replay(database, clock, rollout)
    with database.read() as unit:
        last = intake_records.last_intake(unit, rollout.id)
    assert last is not None
    assert last.reading["outcomes"] == 360
    assert last.upto == {"g1": 180, "g2": 180}
    assert lasting.step(rollout.id) is None
    assert now(database, rollout).intakes == last.number, "nothing new, nothing stored"


def test_what_is_counted_is_stored_now_and_then_in_its_order(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    """Two gateways and labels in turn, stepped four times a second for 20 s; killed at the end."""
    database = sqlite_database
    plan = replace(PLAN, guardrails=(Metric.SUCCESS, Metric.CORRECT, Metric.P95))
    rollout = begin(database, clock, replace(plan, first_outcomes=10**6))
    gateways = [Traffic(database, SPEC, clock, process=name) for name in ("g2", "g1")]
    steps = reconciler(database, clock)
    stored_at: list[float] = []
    writes: set[int] = set()
    for turn in range(80):
        calls = gateways[turn % 2].send(2, bad=(0.1, 0.1))
        if turn % 7 == 0:
            _tell(database, clock, calls[0], "outcome", "bad")
        assert steps.step(rollout.id) is None
        seen = now(database, rollout)
        if seen.revision not in writes:
            writes.add(seen.revision)
            stored_at.append(turn / 4)
            check_replay(database, clock, rollout)
        clock.advance(0.25)
    assert stored_at == [2.0 * turn for turn in range(10)], "every two seconds"
    with database.read() as unit:
        stored = [one for one in intake_records.list_intakes(unit, rollout.id) if not one.fresh]
    assert len(stored) == now(database, rollout).intakes - 1
    assert 3 <= len(stored) <= 5, "they grow for five seconds or a little more"
    assert any(one.labels for one in stored)
    again = reconciler(database, clock)
    assert again.step(rollout.id) is None, "what was lost is counted again"
    check_replay(database, clock, rollout)
    with database.read() as unit:
        last = intake_records.last_intake(unit, rollout.id)
    assert last is not None
    assert last.reading["outcomes"] == 160
    correct = next(one for one in last.reading["guardrails"] if one["metric"] == "correct")
    assert correct["outcomes"] == 12


def test_one_of_many_wins(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    Traffic(database, SPEC, clock).send(400, bad=(0.02, 0.02))
    clock.advance(10)
    crowd = 50
    gate = threading.Barrier(crowd)

    def race() -> DecisionRecord | None:
        steps = reconciler(database, clock)
        gate.wait(30)
        return steps.step(rollout.id)

    with ThreadPoolExecutor(crowd) as pool:
        made = [one.result() for one in [pool.submit(race) for _ in range(crowd)]]
    with database.read() as unit:
        decisions = records.decisions(unit, rollout.id)[1:]
        history = routes.history(unit, SPEC.name)
    kept = sorted((one for one in made if one is not None), key=lambda one: one.number)
    assert kept == decisions
    assert kept[0].kind == "advance"
    assert len({one.step for one in kept}) == len(kept), "no step was made twice"
    assert [one.revision for one in history] == list(range(len(history), 0, -1))
    check_replay(database, clock, rollout)


def test_a_clock_that_jumps_decides_nothing_by_itself(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock, replace(PLAN, dwell_s=300.0, time_limit_s=10**9))
    steps = reconciler(sqlite_database, clock)
    clock.advance(10**6)
    assert steps.step(rollout.id) is None, "no evidence, no move"
    Traffic(sqlite_database, SPEC, clock).send(400, bad=(0.02, 0.02))
    clock.advance(-2 * 10**6)
    assert steps.step(rollout.id) is None, "before its own beginning it waits"
    clock.advance(10**6 + 400)
    made = steps.step(rollout.id)
    assert made is not None
    assert made.kind == "advance"


def test_a_bake_has_evidence_and_a_time_of_its_own(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock, replace(PLAN, steps_bp=(5000, FULL_BP)))
    [made] = drive(sqlite_database, clock, rollout, most=3, step_s=0.0)
    assert made.kind == "bake"
    steps = reconciler(sqlite_database, clock)
    Traffic(sqlite_database, SPEC, clock, process="g9").send(40)
    assert steps.step(rollout.id) is None
    with sqlite_database.read() as unit:
        stored = intake_records.list_intakes(unit, rollout.id)
    assert [one.number for one in stored if one.fresh] == [1, made.number + 1]
    assert stored[-1].reading["outcomes"] < 340, "those before the bake are not in it"
    clock.advance(60)
    found = steps.step(rollout.id)
    assert found is not None
    assert found.kind == "finish"


def test_without_a_hold_back_the_bake_ends_by_time(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    plan = replace(PLAN, steps_bp=(5000, FULL_BP), hold_back_bp=0)
    rollout = begin(sqlite_database, clock, plan)
    made = drive(sqlite_database, clock, rollout, bad=(0.02, 0.02))
    assert [(one.kind, one.weight_bp) for one in made] == [("bake", FULL_BP), ("finish", FULL_BP)]


def _tell(database: Database, clock: FrozenClock, call: Any, kind: str, label: str) -> None:
    with database.write() as unit:
        submit(
            unit,
            interaction_id=call.id,
            kind=kind,
            value=label,
            author=None,
            idempotency_key=None,
            at=clock.now(),
            catalog=CATALOG,
        )


def test_late_truths_count_once_and_corrections_never(
    database: Database, clock: FrozenClock
) -> None:
    plan = replace(PLAN, guardrails=(Metric.SUCCESS, Metric.CORRECT), min_score=0.5)
    rollout = begin(database, clock, replace(plan, first_outcomes=10**6))
    calls = Traffic(database, SPEC, clock).send(12)
    steps = reconciler(database, clock)
    for call in calls[:4]:
        _tell(database, clock, call, "correction", "bad")
    assert steps.step(rollout.id) is None
    clock.advance(10)
    for call in calls[:6]:
        _tell(database, clock, call, "outcome", "bad")
    assert steps.step(rollout.id) is None
    clock.advance(10)
    for call in calls[:8]:
        _tell(database, clock, call, "outcome", "good")
    assert steps.step(rollout.id) is None
    with database.read() as unit:
        stored = [one for one in intake_records.list_intakes(unit, rollout.id) if not one.fresh]
    assert [[one.error for one in intake.labels] for intake in stored] == [[], [1.0] * 6, [0.0] * 2]
    assert [one.interaction_id for one in stored[1].labels] == [call.id for call in calls[:6]]
    correct = next(g for g in stored[-1].reading["guardrails"] if g["metric"] == "correct")
    assert correct["outcomes"] == 8
    check_replay(database, clock, rollout)


def test_wrong_answers_roll_back_too(sqlite_database: Database, clock: FrozenClock) -> None:
    plan = replace(PLAN, guardrails=(Metric.SUCCESS, Metric.CORRECT), first_outcomes=10**6)
    rollout = begin(sqlite_database, clock, plan)
    for call in Traffic(sqlite_database, SPEC, clock).send(300):
        _tell(sqlite_database, clock, call, "outcome", "bad" if call.arm == "candidate" else "good")
    made = reconciler(sqlite_database, clock).step(rollout.id)
    assert made is not None
    assert made.kind == "roll_back"


def shadow(database: Database, clock: FrozenClock, count: int, *, bad: float) -> None:
    """The candidate's answers to copies of calls that were all answered well."""
    route, coin = route_of(database), Random(count)
    copies = [
        InteractionRecord(
            id=new_id(),
            created_at=clock.now(),
            status="failed" if coin.random() < bad else "answered",
            input="x",
            latency_ms=1.0,
            task=SPEC.name,
            arm="shadow",
            route_revision=route.revision,
            weight_bp=0,
            shadow_of=new_id(),
            paired_bad=False,
        )
        for _ in range(count)
    ]
    with database.write() as unit:
        insert(unit, copies, process="shadows")


def test_a_shadow_that_is_certified_ramps(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock, replace(PLAN, shadow_inputs=2000))
    shadow(database, clock, 300, bad=0.0)
    steps = reconciler(database, clock)
    made = steps.step(rollout.id)
    assert made is not None
    assert (made.kind, made.weight_bp) == ("ramp", 5000)
    assert route_of(database).weight_bp == 5000
    assert now(database, rollout).state is RolloutState.RAMPING
    assert steps.step(rollout.id) is None
    check_replay(database, clock, rollout)


def test_gateways_copy_calls_until_a_shadow_has_had_its_inputs(
    database: Database, clock: FrozenClock
) -> None:
    def copied() -> dict[str, Target]:
        with database.read() as unit:
            return targets(unit)

    rollout = begin(database, clock, replace(PLAN, margin=0.01, shadow_inputs=20))
    mine = {SPEC.name: Target("tone@1", rollout.route_revision)}
    assert copied() == mine
    with database.write() as unit:
        steer.pause(unit, rollout, at=clock.now(), **SAID)
    assert copied() == {}, "what is paused uses nothing"
    with database.write() as unit:
        steer.resume(unit, now(database, rollout), at=clock.now(), **SAID)
    assert copied() == mine
    with database.write() as unit:
        pause.pause(unit, actor="ada", reason="", at=clock.now())
    assert copied() == {}, "while nobody could end it"
    with database.write() as unit:
        pause.resume(unit)
    assert copied() == mine
    shadow(database, clock, 20, bad=0.0)
    made = reconciler(database, clock).step(rollout.id)
    assert made is not None
    assert made.kind == "hold"
    assert copied() == {}
    with database.write() as unit:
        steer.resume(unit, now(database, rollout), at=clock.now(), **SAID)
    assert copied() == mine
    with database.write() as unit:
        steer.abort(unit, SPEC, now(database, rollout), at=clock.now(), **SAID)
    assert copied() == {}


def test_a_paused_shadow_goes_on_from_what_it_had_seen(
    database: Database, clock: FrozenClock
) -> None:
    """The verdict comes at the same input as without a pause."""
    rollout = begin(database, clock, replace(PLAN, shadow_inputs=2000))
    steps, inputs = reconciler(database, clock), 0
    while (made := steps.step(rollout.id)) is None:
        if inputs == 5:
            with database.write() as unit:
                steer.pause(unit, now(database, rollout), at=clock.now(), **SAID)
            assert steps.step(rollout.id) is None
            assert now(database, rollout).state is RolloutState.PAUSED
            with database.write() as unit:
                steer.resume(unit, now(database, rollout), at=clock.now(), **SAID)
        shadow(database, clock, 1, bad=0.0)
        inputs += 1
        clock.advance(3.0)
    evidence = ShadowEvidence(PLAN)
    for _ in range(inputs):
        evidence.answered(candidate_bad=False, incumbent_bad=False)
    assert (made.kind, inputs > 5) == ("ramp", True)
    assert made.evidence["certificate"] == evidence.reading().certificate
    check_replay(database, clock, rollout)


def test_a_shadow_that_is_worse_never_ramps(sqlite_database: Database, clock: FrozenClock) -> None:
    rollout = begin(sqlite_database, clock, replace(PLAN, shadow_inputs=2000))
    shadow(sqlite_database, clock, 300, bad=0.5)
    made = reconciler(sqlite_database, clock).step(rollout.id)
    assert made is not None
    assert (made.kind, made.state) == ("roll_back", RolloutState.ROLLED_BACK)
    with sqlite_database.read() as unit:
        assert versions.get(unit, "tone", 1).status is VersionStatus.REJECTED
