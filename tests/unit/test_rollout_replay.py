"""Reading the evidence again goes in pieces, and comes out the same to the last digit."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from inhouse.db.base import Base
from inhouse.db.unit import Database
from inhouse.feedback.submit import submit
from inhouse.rollout import intake_records, memory, records, replay, steer
from inhouse.rollout.controller import Controller
from inhouse.rollout.plan import FULL_BP, Metric, Plan
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.sequential.harm import Harm
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.traffic import Traffic

SPEC = TaskSpec(
    name="tone",
    kind=TaskKind.CHOICE,
    description="",
    labels=("good", "bad"),
    prompt="{{ input }}",
    chain=("embedded/general",),
)
OTHER = replace(SPEC, name="mood")
CATALOG = Catalog([SPEC, OTHER])
PLAN = Plan(
    steps_bp=(5000, 8000, FULL_BP),
    margin=0.2,
    first_outcomes=10**6,
    dwell_s=0.0,
    min_success=None,
    max_p95_s=None,
    guardrails=(Metric.SUCCESS, Metric.CORRECT, Metric.P95),
)
ENOUGH = 200
"""Steps in which everything here is read."""


@pytest.fixture
def in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of 50 outcomes, pages of 7, two intakes at once."""
    monkeypatch.setattr(replay, "PIECE", 50)
    monkeypatch.setattr(replay, "_PAGE", 7)
    monkeypatch.setattr(replay, "_INTAKES", 2)


def begin(database: Database, clock: FrozenClock, plan: Plan, spec: TaskSpec) -> RolloutRecord:
    with database.write() as unit:
        return steer.start(
            unit,
            spec,
            candidate="embedded/new",
            plan=plan,
            actor="ada",
            reason="",
            at=clock.now(),
        )


def now(database: Database, rollout: RolloutRecord) -> RolloutRecord:
    with database.read() as unit:
        return records.get(unit, rollout.id)


def live(
    database: Database, clock: FrozenClock, rollout: RolloutRecord, turns: int, steps: Reconciler
) -> Callable[[], None]:
    """Two gateways in turn, and now and then a label, each turn in an intake of its own. Returns
    what does one more turn."""
    gateways = [Traffic(database, SPEC, clock, process=name) for name in ("g2", "g1")]

    def turn() -> None:
        calls = [call for gateway in gateways for call in gateway.send(10, bad=(0.1, 0.1))]
        with database.write() as unit:
            submit(
                unit,
                interaction_id=calls[0].id,
                kind="outcome",
                value="bad",
                author=None,
                idempotency_key=None,
                at=clock.now(),
                catalog=CATALOG,
            )
        clock.advance(10.0)
        assert steps.step(rollout.id) is None

    for _ in range(turns):
        turn()
    return turn


def test_pieces_give_the_evidence_of_a_process_that_never_ended(
    database: Database, clock: FrozenClock, in_pieces: None
) -> None:
    rollout = begin(database, clock, PLAN, SPEC)
    lasting = Reconciler(database, clock, CATALOG)
    live(database, clock, rollout, 20, lasting)
    wanted = lasting._memories[rollout.id]
    seen = now(database, rollout)
    with database.read() as unit:
        again, pieces = replay.begin(unit, seen), 1
        while not replay.go_on(unit, seen, again):
            assert again.intakes < seen.intakes, "the newest is read in the last piece"
            pieces += 1
    assert pieces == 7, "20 turns of 20 outcomes; a piece ends with the intake that passes 50"
    for margin in PLAN.margins:
        assert again.tally.reading(margin) == wanted.tally.reading(margin)
    assert (again.upto, again.labelled) == (wanted.upto, wanted.labelled)
    assert again.intakes == wanted.intakes


def test_others_may_store_more_between_two_pieces(
    sqlite_database: Database, clock: FrozenClock, in_pieces: None
) -> None:
    rollout = begin(sqlite_database, clock, PLAN, SPEC)
    lasting = Reconciler(sqlite_database, clock, CATALOG)
    turn = live(sqlite_database, clock, rollout, 6, lasting)
    late = Reconciler(sqlite_database, clock, CATALOG)
    assert late.step(rollout.id) is None
    assert rollout.id not in late._memories, "there is more to read"
    turn()
    for _ in range(ENOUGH):
        assert late.step(rollout.id) is None
    margin = PLAN.margins[0]
    read, kept = (one._memories[rollout.id].tally.reading(margin) for one in (late, lasting))
    assert read == kept
    assert read.outcomes == 140


def decisions(clock: FrozenClock, *, again: bool) -> list[tuple[object, ...]]:
    """Those of a rollout whose process begins again with every batch of calls, or never."""
    database = Database("sqlite://")
    Base.metadata.create_all(database.engine)
    plan = replace(PLAN, first_outcomes=20, step_outcomes=20, guardrails=(Metric.SUCCESS,))
    rollout = begin(database, clock, plan, SPEC)
    calls, steps = Traffic(database, SPEC, clock), Reconciler(database, clock, CATALOG)
    made: list[DecisionRecord] = []
    for turn in range(12):
        if again:
            steps = Reconciler(database, clock, CATALOG)
        calls.send(30, bad=(0.02, 0.02 if turn < 8 else 0.9))
        clock.advance(10.0)
        made += [one for _ in range(20) if (one := steps.step(rollout.id)) is not None]
    database.close()
    return [(one.kind, one.weight_bp, one.evidence, one.reasons) for one in made]


def test_who_begins_again_in_pieces_decides_the_same(clock: FrozenClock, in_pieces: None) -> None:
    lasting = decisions(clock, again=False)
    assert [one[0] for one in lasting] == ["advance", "bake", "roll_back"]
    assert decisions(clock, again=True) == lasting


def test_an_old_rollout_keeps_no_other_from_its_step(
    sqlite_database: Database, clock: FrozenClock, in_pieces: None
) -> None:
    old = begin(sqlite_database, clock, PLAN, SPEC)
    live(sqlite_database, clock, old, 10, Reconciler(sqlite_database, clock, CATALOG))
    young = begin(sqlite_database, clock, replace(PLAN, guardrails=(Metric.SUCCESS,)), OTHER)
    Traffic(sqlite_database, OTHER, clock, process="g3").send(200, bad=(0.0, 0.9))
    Traffic(sqlite_database, SPEC, clock, process="g4").send(200, bad=(0.0, 0.9))
    controller = Controller(sqlite_database, clock, CATALOG, name="new")
    [made] = controller.tick()
    assert (made.rollout_id, made.kind) == (young.id, "roll_back")
    later = [one for _ in range(ENOUGH) for one in controller.tick()]
    assert [(one.rollout_id, one.kind) for one in later] == [(old.id, "roll_back")]


def test_an_intake_holds_no_more_than_is_read_in_one_go(
    sqlite_database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "MOST_OUTCOMES", 100)
    rollout = begin(sqlite_database, clock, PLAN, SPEC)
    clock.advance(10**6)
    calls, steps = (
        Traffic(sqlite_database, SPEC, clock),
        Reconciler(sqlite_database, clock, CATALOG),
    )
    for _ in range(9):
        calls.send(50, bad=(0.1, 0.1))
        clock.advance(3.0)
        assert steps.step(rollout.id) is None
    with sqlite_database.read() as unit:
        stored = [one for one in intake_records.list_intakes(unit, rollout.id) if not one.fresh]
    assert [one.upto["g1"] for one in stored] == [100, 200, 300, 400, 450]


def test_a_huge_horizon_costs_nothing() -> None:
    """The shares of what begins anew sum to one over the horizon, however long that is."""
    long, short = Harm(10**15), Harm(1_000_001)
    for test in (long, short):
        test.add(candidate=True, weight=0.5, bad=0.0)
    exact = sum(1.0 / k for k in range(1, 1_000_002))
    assert math.isclose(short.usual, 1.0 / exact, rel_tol=1e-12)
    assert 0.0 < long.usual < short.usual
