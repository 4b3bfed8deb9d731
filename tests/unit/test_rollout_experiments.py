"""Experiments: started, counted, looked at and ended; traffic returns to what answered before."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import pytest

from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict, InhouseError, Invalid, NotFound
from inhouse.core.ids import new_id
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database, WriteUnit
from inhouse.feedback.submit import FeedbackKind, submit
from inhouse.registry import move, retire, routes, versions
from inhouse.rollout import conduct, experiments, steer
from inhouse.rollout import experiment_records as records
from inhouse.rollout.conduct import Conductor
from inhouse.rollout.controller import Controller
from inhouse.rollout.experiment_plain import plain
from inhouse.rollout.experiment_records import ExperimentRecord
from inhouse.rollout.findings import ExperimentState, Question
from inhouse.rollout.plan import Plan
from inhouse.rollout.trial import Measure
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind, TaskSpec, Unit
from inhouse.testing.clock import FrozenClock
from inhouse.testing.traffic import Traffic

SPEC = TaskSpec(
    name="tone",
    kind=TaskKind.CHOICE,
    description="",
    labels=("good", "bad"),
    prompt="{{ input }}",
    chain=("embedded/general", "embedded/spare"),
)
SAID: dict[str, Any] = {"actor": "ada", "reason": "because"}
ONE, TWO, BEFORE = "embedded/one", "embedded/two", "embedded/general"


def asked(**changes: Any) -> Question:
    declared = {"task": "tone", "a": ONE, "b": TWO, "weight_bp": 5000, "alpha": 0.05}
    declared |= {"metric": Measure.SUCCESS, "horizon": 400, "looks": 4}
    return Question(**{**declared, **changes})


def begin(
    database: Database, clock: Clock, spec: TaskSpec = SPEC, **changes: Any
) -> ExperimentRecord:
    with database.write() as unit:
        return experiments.start(unit, spec, asked(**changes), at=clock.now(), **SAID)


def conductor(database: Database, clock: Clock, spec: TaskSpec = SPEC) -> Conductor:
    return Conductor(database, clock, Catalog([spec]))


def now(database: Database, begun: ExperimentRecord) -> ExperimentRecord:
    with database.read() as unit:
        return records.get(unit, begun.id)


def route_of(database: Database) -> routes.Route:
    with database.read() as unit:
        found = routes.current(unit, "tone")
    assert found is not None
    return found


def answers(database: Database) -> tuple[str, str | None, int]:
    route = route_of(database)
    return route.incumbent, route.candidate, route.weight_bp


def register(unit: WriteUnit, clock: Clock) -> None:
    versions.register(
        unit,
        task="tone",
        task_revision=SPEC.revision,
        artifact="tone",
        store_version="20260101T000000Z-0badcafe",
        manifest_digest="sha256:00",
        recipe="encoder-head.v1",
        run_id=None,
        snapshot_id=None,
        at=clock.now(),
    )


def test_it_splits_a_task_between_two_others(database: Database, clock: FrozenClock) -> None:
    begun = begin(database, clock, weight_bp=2500)
    route = route_of(database)
    assert (route.incumbent, route.candidate, route.weight_bp) == (ONE, TWO, 2500)
    assert route.chain == (BEFORE, "embedded/spare")
    assert route.salt not in ("", "tone")
    assert (begun.state, begun.incumbent_before) == (ExperimentState.RUNNING, BEFORE)
    assert begun.route_revision == route.revision
    with database.read() as unit:
        assert records.open_of(unit, "tone") == begun
        assert records.list_experiments(unit, "tone") == [begun]
        assert records.list_experiments(unit, "other") == []
        assert records.unfinished(unit) == [begun.id]
        with pytest.raises(NotFound, match="no experiment"):
            records.get(unit, "nothing")
    shown = plain(begun)
    assert shown["a"] == {"reference": ONE, "outcomes": 0, "mean": None, "harm": 1.0}
    assert (shown["taken"], shown["winner"], shown["metric"]) == ([], None, "success")


def test_equal_arms_have_no_winner_at_the_horizon(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock)
    traffic, loop = Traffic(sqlite_database, SPEC, clock), conductor(sqlite_database, clock)
    changed = []
    for _ in range(9):
        traffic.send(50, bad=(0.1, 0.1))
        changed.append(loop.step(begun.id))
    looked = [one for one in changed if one is not None]
    assert [len(one.findings.looks) for one in looked] == [1, 2, 3, 4]
    assert changed[-1] is None
    ended = now(sqlite_database, begun)
    assert (ended.state, ended.ended_at) == (ExperimentState.CONCLUDED, clock.now())
    found = ended.findings
    assert (found.outcomes, found.winner, found.ended_by) == (400, None, "experiment")
    last = found.looks[-1]
    assert last.low is not None
    assert last.high is not None
    assert last.low < 0.0 < last.high
    assert found.recommendation is not None
    assert "no difference in success was shown" in found.recommendation
    assert f"{BEFORE} goes on answering" in found.recommendation
    assert answers(sqlite_database) == (BEFORE, None, 0)
    assert route_of(sqlite_database).chain == SPEC.chain
    assert loop.running() == []
    begin(sqlite_database, clock)


@pytest.mark.parametrize(
    ("bad", "better"), [((0.15, 0.0), "B (embedded/two)"), ((0.0, 0.15), "A (embedded/one)")]
)
def test_a_winner_is_named_with_an_interval(
    sqlite_database: Database, clock: FrozenClock, bad: tuple[float, float], better: str
) -> None:
    begun = begin(sqlite_database, clock, looks=2, horizon=800)
    Traffic(sqlite_database, SPEC, clock).send(600, bad=bad)
    ended = conductor(sqlite_database, clock).step(begun.id)
    assert ended is not None
    assert ended.state is ExperimentState.CONCLUDED, ended.findings
    assert ended.findings.winner == better[0].lower()
    told = ended.findings.recommendation
    assert told is not None
    assert told.startswith(f"{better} is better by ")
    assert "points [" in told
    assert f"inhouse rollout start tone --to {better[3:-1]}" in told
    assert answers(sqlite_database) == (BEFORE, None, 0)


def test_who_answers_already_needs_no_rollout(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock, a=BEFORE, looks=1, horizon=400)
    Traffic(sqlite_database, SPEC, clock).send(400, bad=(0.0, 0.15))
    ended = conductor(sqlite_database, clock).step(begun.id)
    assert ended is not None
    assert "it answers already" in (ended.findings.recommendation or "")
    assert answers(sqlite_database) == (BEFORE, None, 0)


@pytest.mark.parametrize(("bad", "arm"), [((0.02, 0.9), "B"), ((0.9, 0.02), "A")])
def test_a_guardrail_stops_a_catastrophe(
    sqlite_database: Database, clock: FrozenClock, bad: tuple[float, float], arm: str
) -> None:
    begun = begin(sqlite_database, clock, horizon=10_000)
    Traffic(sqlite_database, SPEC, clock).send(100, bad=bad)
    ended = conductor(sqlite_database, clock).step(begun.id)
    assert ended is not None
    assert (ended.state, ended.findings.looks) == (ExperimentState.STOPPED, ())
    assert (ended.findings.why or "").startswith(f"{arm} (embedded/")
    assert (ended.findings.winner, ended.findings.outcomes) == (None, 100)
    assert answers(sqlite_database) == (BEFORE, None, 0)


def test_a_restart_counts_the_same_and_looks_no_more(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock)
    first = conductor(sqlite_database, clock)
    gateways = [Traffic(sqlite_database, SPEC, clock, process=name) for name in ("g1", "g2")]
    for traffic in gateways:
        traffic.send(60, bad=(0.1, 0.1))
    looked = first.step(begun.id)
    assert looked is not None
    for traffic in reversed(gateways):
        traffic.send(20, bad=(0.1, 0.1))
    assert first.step(begun.id) is None
    noted = now(sqlite_database, begun)
    assert (noted.findings.outcomes, noted.revision) == (160, looked.revision)
    second = conductor(sqlite_database, clock)
    assert second.step(begun.id) is None
    again = now(sqlite_database, begun).findings
    assert (again.counts, again.means) == (noted.findings.counts, noted.findings.means)
    assert again.looks == looked.findings.looks
    gateways[0].send(60)
    assert second.step(begun.id) is not None
    assert first.step(begun.id) is None
    assert len(now(sqlite_database, begun).findings.looks) == 2


def test_much_is_read_in_pieces(
    sqlite_database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conduct, "AT_ONCE", 7)
    begun = begin(sqlite_database, clock)
    for name in ("g1", "g2"):
        Traffic(sqlite_database, SPEC, clock, process=name).send(31)
    assert conductor(sqlite_database, clock).step(begun.id) is None
    assert now(sqlite_database, begun).findings.outcomes == 62


def test_of_two_processes_one_ends_it(database: Database, clock: FrozenClock) -> None:
    begun = begin(database, clock, horizon=200, looks=1)
    Traffic(database, SPEC, clock).send(200)
    loops = [conductor(database, clock) for _ in range(4)]
    ended: list[ExperimentRecord | None] = []
    ready = threading.Barrier(len(loops))

    def work(loop: Conductor) -> None:
        ready.wait()
        ended.append(loop.step(begun.id))

    threads = [threading.Thread(target=work, args=(loop,)) for loop in loops]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [one is not None for one in ended].count(True) == 1
    assert route_of(database).revision == begun.route_revision + 1


def test_of_two_starts_at_once_one_wins(database: Database, clock: FrozenClock) -> None:
    ready, outcomes = threading.Barrier(4), []

    def work() -> None:
        ready.wait()
        try:
            begin(database, clock)
            outcomes.append("begun")
        except Conflict as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["begun"] + ["experiment-running"] * 3
    with database.read() as unit:
        assert len(records.list_experiments(unit)) == len(routes.history(unit, "tone")) == 1


def test_a_rollout_and_an_experiment_exclude_each_other(
    database: Database, clock: FrozenClock
) -> None:
    def roll(unit: WriteUnit) -> None:
        steer.start(unit, SPEC, candidate=TWO, plan=Plan(), at=clock.now(), replace=True, **SAID)

    begun = begin(database, clock)
    with pytest.raises(Conflict, match="an experiment") as caught, database.write() as unit:
        roll(unit)
    assert caught.value.code == "rollout-running"
    with database.write() as unit:
        experiments.stop(unit, SPEC, begun, at=clock.now(), **SAID)
        roll(unit)
    with pytest.raises(Conflict, match="a rollout") as caught:
        begin(database, clock)
    assert caught.value.code == "rollout-running"


def test_a_person_stops_it(sqlite_database: Database, clock: FrozenClock) -> None:
    begun = begin(sqlite_database, clock)
    Traffic(sqlite_database, SPEC, clock).send(30)
    assert conductor(sqlite_database, clock).step(begun.id) is None
    with sqlite_database.write() as unit:
        ended = experiments.stop(unit, SPEC, begun, at=clock.now(), **SAID)
        with pytest.raises(Conflict, match="changed meanwhile"):
            experiments.stop(unit, SPEC, begun, at=clock.now(), **SAID)
        with pytest.raises(Conflict, match="is stopped"):
            experiments.stop(unit, SPEC, ended, at=clock.now(), **SAID)
    assert (ended.state, ended.findings.ended_by, ended.findings.why) == (
        ExperimentState.STOPPED,
        "ada",
        "because",
    )
    assert answers(sqlite_database) == (BEFORE, None, 0)
    assert conductor(sqlite_database, clock).step(begun.id) is None


def roll_back(unit: WriteUnit, clock: Clock) -> None:
    move.rollback_all(unit, [SPEC], at=clock.now(), **SAID)


def send_to_b(unit: WriteUnit, clock: Clock) -> None:
    move.set_weight(unit, SPEC, candidate=None, percent=100, at=clock.now(), **SAID)


def pin(unit: WriteUnit, clock: Clock) -> None:
    move.pin(unit, SPEC, "embedded/other", at=clock.now(), **SAID)


@pytest.mark.parametrize(
    ("verb", "after"),
    [(roll_back, (BEFORE, TWO, 0)), (send_to_b, (BEFORE, TWO, 10_000)), (pin, (BEFORE, TWO, 5000))],
)
def test_who_moves_the_route_ends_it(
    sqlite_database: Database, clock: FrozenClock, verb: Any, after: tuple[str, str, int]
) -> None:
    begun = begin(sqlite_database, clock)
    with sqlite_database.write() as unit:
        verb(unit, clock)
    ended = conductor(sqlite_database, clock).step(begun.id)
    assert ended is not None
    assert ended.state is ExperimentState.ABORTED
    assert "somebody moved the route" in (ended.findings.why or "")
    assert answers(sqlite_database) == after
    assert route_of(sqlite_database).pin == ("embedded/other" if verb is pin else None)


def test_an_arm_that_may_not_answer_any_more_ends_it(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.write() as unit:
        register(unit, clock)
    begun = begin(sqlite_database, clock, b="tone@1")
    with sqlite_database.write() as unit:
        found = versions.get(unit, "tone", 1)
        move_to = VersionStatus.REJECTED
        versions.set_status(unit, found.id, move_to, by="gate", why="worse", at=clock.now())
    ended = conductor(sqlite_database, clock).step(begun.id)
    assert ended is not None
    assert ended.state is ExperimentState.ABORTED
    assert "tone@1 may not answer" in (ended.findings.why or "")
    assert answers(sqlite_database) == (BEFORE, None, 0)


def test_what_answered_before_is_kept(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        register(unit, clock)
        move.set_weight(unit, SPEC, candidate="tone@1", percent=100, at=clock.now(), **SAID)
    begun = begin(sqlite_database, clock)
    assert begun.incumbent_before == "tone@1"
    with sqlite_database.write() as unit:
        with pytest.raises(Conflict, match="serves"):
            retire.archive(unit, [SPEC], "tone", 1, by="ada", why="old", at=clock.now())
        experiments.stop(unit, SPEC, begun, at=clock.now(), **SAID)
        assert versions.get(unit, "tone", 1).status is VersionStatus.ACTIVE
    assert answers(sqlite_database) == ("tone@1", None, 0)


def test_labels_decide_where_they_are_compared(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock, metric=Measure.CORRECT, horizon=80, looks=2)
    calls = Traffic(sqlite_database, SPEC, clock).send(150)
    loop = conductor(sqlite_database, clock)
    assert loop.step(begun.id) is None
    with sqlite_database.write() as unit:
        for number, call in enumerate(calls[:80]):
            wrong = number % (6 if call.arm == "candidate" else 5) == 0
            submit(
                unit,
                interaction_id=call.id,
                kind=FeedbackKind.OUTCOME,
                value={"label": "bad" if wrong else "good"},
                author=None,
                idempotency_key=None,
                at=clock.now(),
                catalog=Catalog([SPEC]),
            )
    ended = loop.step(begun.id)
    assert ended is not None
    assert (ended.state, ended.findings.outcomes) == (ExperimentState.CONCLUDED, 80)
    assert "no difference in correct" in (ended.findings.recommendation or "")
    assert len(ended.findings.looks) == 1


def test_latency_and_users(sqlite_database: Database, clock: FrozenClock) -> None:
    begun = begin(sqlite_database, clock, metric=Measure.LATENCY, horizon=100, looks=2)
    Traffic(sqlite_database, SPEC, clock).send(160, latency_ms=(400.0, 100.0))
    ended = conductor(sqlite_database, clock).step(begun.id)
    assert ended is not None
    assert "B (embedded/two) is faster by 0." in (ended.findings.recommendation or "")
    spec = replace(SPEC, unit=Unit.USER)
    begun = begin(sqlite_database, clock, spec)
    Traffic(sqlite_database, spec, clock, process="g2").send(50)
    assert conductor(sqlite_database, clock, spec).step(begun.id) is None
    assert begun.findings.by_user
    assert now(sqlite_database, begun).findings.outcomes == 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"b": ONE}, "experiment-plan"),
        ({"weight_bp": 10_000}, "experiment-plan"),
        ({"looks": 0}, "experiment-plan"),
        ({"looks": 21, "horizon": 10_000}, "experiment-plan"),
        ({"horizon": 159}, "experiment-plan"),
        ({"horizon": 10_000_001}, "experiment-plan"),
        ({"alpha": 0.5}, "experiment-plan"),
        ({"b": "tone@9"}, "version-not-found"),
        ({"b": "task:tone"}, "reference"),
    ],
)
def test_what_cannot_start_changes_nothing(
    sqlite_database: Database, clock: FrozenClock, changes: dict[str, Any], code: str
) -> None:
    with pytest.raises(InhouseError) as caught:
        begin(sqlite_database, clock, **changes)
    assert caught.value.code == code
    with sqlite_database.read() as unit:
        assert records.list_experiments(unit) == records.unfinished(unit) == []
        assert routes.current(unit, "tone") is None


def test_a_task_that_nothing_answers_has_none(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with pytest.raises(Invalid) as caught:
        begin(sqlite_database, clock, replace(SPEC, chain=()))
    assert caught.value.code == "experiment-incumbent"


def test_the_controller_steps_it(sqlite_database: Database, clock: FrozenClock) -> None:
    begun = begin(sqlite_database, clock)
    Traffic(sqlite_database, SPEC, clock).send(100, bad=(0.0, 0.9))
    controller = Controller(sqlite_database, clock, Catalog([SPEC]), name="first")
    assert controller.tick() == []
    assert now(sqlite_database, begun).state is ExperimentState.STOPPED
    assert controller.tick() == []


def test_a_task_that_is_not_declared_waits(sqlite_database: Database, clock: FrozenClock) -> None:
    begun = begin(sqlite_database, clock)
    assert Conductor(sqlite_database, clock, Catalog([])).step(begun.id) is None
    with pytest.raises(NotFound):
        conductor(sqlite_database, clock).step(new_id())
