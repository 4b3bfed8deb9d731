"""The independence score: its formula, and the report over recorded calls."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database, WriteUnit
from inhouse.evaluation import records
from inhouse.evaluation.compare import Interval
from inhouse.evaluation.gate import Comparison, Verdict, VerdictKind
from inhouse.evaluation.measure import Answer, Result
from inhouse.interactions import record
from inhouse.monitoring.independence import TaskUse, gain, score
from inhouse.monitoring.metrics import observe
from inhouse.monitoring.queries import Window
from inhouse.monitoring.report import (
    IndependenceReport,
    independence,
    independence_in,
    serving,
)
from inhouse.registry import move, routes, versions
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock
from inhouse.testing.versions import add_version

GENERAL = "hosted/large"


def _spec(name: str) -> TaskSpec:
    return TaskSpec(
        name=name,
        kind=TaskKind.CHOICE,
        description="",
        labels=("bad", "good"),
        prompt="{{ input }}",
        chain=(GENERAL,),
    )


def _use(task: str = "a", own: int = 0, local: int = 0, external: int = 0, **more: Any) -> TaskUse:
    return TaskUse(task=task, own=own, local=local, external=external, **more)


@pytest.mark.parametrize(
    ("tasks", "points", "sources"),
    [
        ([_use(external=9), _use("b", external=1)], 0.0, 30.0),
        ([_use(local=9), _use("b", local=1)], 20.0, 10.0),
        ([_use(own=9, certified=True), _use("b", own=1, certified=True)], 100.0, 100.0),
        ([_use(own=3)], 80.0, 80.0),
        ([_use(own=1, external=1), _use("b", external=2)], 10.0 + 10.0, 10.0 + 32.5),
        ([_use(own=1, local=1, certified=True)], 20.0 + 30.0 + 20.0, 20.0 + 25.0 + 20.0),
        ([_use(own=30, external=0), _use("b", external=10)], 20.0 + 30.0, 20.0 + 37.5),
    ],
)
def test_the_formula_and_its_anchors(tasks: list[TaskUse], points: float, sources: float) -> None:
    parts = score(tasks)
    assert parts is not None
    assert parts.score == pytest.approx(points)
    assert parts.sources_formula == pytest.approx(sources)
    together = parts.deployment_points + parts.dependence_points + parts.parity_points
    assert together == pytest.approx(points)


def test_without_an_answer_there_is_no_score() -> None:
    assert score([]) is None
    assert score([_use(unanswered=5)]) is None


def test_a_task_that_nothing_answers_is_not_independent() -> None:
    parts = score([_use(own=5, certified=True), _use("b", unanswered=5)])
    assert parts is not None
    assert parts.score == pytest.approx(20 + 40 + 10)


_uses = st.lists(
    st.builds(
        TaskUse,
        task=st.sampled_from("abcd"),
        own=st.integers(0, 50),
        local=st.integers(0, 50),
        external=st.integers(0, 50),
        unanswered=st.integers(0, 5),
        certified=st.booleans(),
    ),
    min_size=1,
    max_size=4,
    unique_by=lambda use: use.task,
)


@given(_uses)
def test_scores_stay_in_range_and_taking_over_never_costs(uses: list[TaskUse]) -> None:
    parts = score(uses)
    if parts is None:
        return
    assert 0.0 <= parts.score <= 100.0
    assert 0.0 <= parts.sources_formula <= 100.0
    assert all(gain(uses, use.task) >= -1e-6 for use in uses)


@given(_uses)
def test_local_models_never_score_below_external_ones(uses: list[TaskUse]) -> None:
    external = [replace(use, local=0, external=use.local + use.external) for use in uses]
    here, there = score(uses), score(external)
    assert (here is None) == (there is None)
    if here and there:
        assert here.score >= there.score


def _calls(
    unit: WriteUnit,
    clock: FrozenClock,
    task: str | None,
    hosting: str | None,
    count: int,
    **more: Any,
) -> None:
    status = "failed" if hosting is None else "answered"
    values: dict[str, Any] = {"status": status, "arm": "incumbent", **more}
    record.insert(
        unit,
        [
            record.InteractionRecord(
                id=new_id(),
                created_at=clock.now(),
                input="x",
                latency_ms=1.0,
                task=task,
                hosting=hosting,
                **values,
            )
            for _ in range(count)
        ],
    )


def _own_version(unit: WriteUnit, clock: FrozenClock, task: str) -> versions.Version:
    return add_version(unit, _spec(task), clock.now())


def _evaluated(
    unit: WriteUnit, clock: FrozenClock, version: versions.Version, kind: VerdictKind
) -> str:
    result = Result(
        reference=GENERAL,
        role="general",
        about="a hosted model of 7 B",
        answers=(Answer(output={"label": "bad"}),),
        scores=(1.0,),
        figures={"score": Interval(1.0, 1.0, 1.0)},
        latency=None,
    )
    comparison = Comparison(
        other=GENERAL,
        role="general",
        difference=Interval(0.01, -0.005, 0.02),
        mcnemar_p=0.5,
        ece_difference=None,
    )
    begun = records.begin(
        unit,
        task=version.task,
        task_revision=version.task_revision,
        candidate=version.reference,
        version_id=version.id,
        snapshot_id=new_id(),
        settings={},
        at=clock.now(),
    )
    records.finish(
        unit,
        begun.id,
        results=[replace(result, reference=version.reference, role="candidate"), result],
        comparisons=[comparison],
        verdict=Verdict(kind=kind, reasons=("because",)),
        at=clock.now(),
    )
    return begun.id


def _move(unit: WriteUnit, clock: FrozenClock, reference: str, percent: float) -> None:
    spec = _spec(reference.partition("@")[0])
    move.set_weight(
        unit,
        spec,
        candidate=reference,
        percent=percent,
        actor="ann",
        reason="test",
        at=clock.now(),
    )


def _report(database: Database, clock: FrozenClock, days: int = 7) -> IndependenceReport:
    clock.advance(1)
    with database.read() as unit:
        return independence(unit, now=clock.now(), days=days)


def test_an_empty_window_has_no_score(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        _calls(unit, clock, "a", "own", 3)
    clock.advance(8 * 86_400)
    report = _report(database, clock)
    assert (report.score, report.parts, report.tasks, report.steps) == (None, None, (), ())
    assert report.until - report.since == timedelta(days=7)
    assert _report(database, clock, days=30).score == pytest.approx(80.0)


def test_what_counts_as_a_call(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        _calls(unit, clock, "a", "own", 1)
        _calls(unit, clock, "a", "local", 2)
        _calls(unit, clock, "a", "external", 3)
        _calls(unit, clock, "a", "external", 4, arm="forced")
        _calls(unit, clock, None, "external", 5)
        _calls(unit, clock, "a", None, 6)
        _calls(unit, clock, "a", None, 1, status="flagged", arm=None)
        _calls(unit, clock, "b", "own", 2, arm="pinned")
        _calls(unit, clock, "c", "external", 2, arm="forced")
    report = _report(database, clock)
    lines = {line.task: line for line in report.tasks}
    assert list(lines) == ["a", "b"]
    one = lines["a"]
    assert (one.own, one.local, one.external, one.unanswered) == (1, 2, 3, 7)
    assert one.own_percent == pytest.approx(100 / 6)
    assert lines["b"].own_percent == 100.0


def test_everything_own_and_as_good_is_a_hundred(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        version = _own_version(unit, clock, "a")
        evaluation_id = _evaluated(unit, clock, version, VerdictKind.PASS)
        _move(unit, clock, version.reference, 100)
        _calls(unit, clock, "a", "own", 7)
    report = _report(database, clock)
    assert report.score == 100.0
    assert report.sources_formula == 100.0
    assert report.steps == ()
    (line,) = report.tasks
    assert line.own_version == "a@1"
    assert line.parity is not None
    assert line.parity.certified
    assert (line.parity.general, line.parity.general_about) == (GENERAL, "a hosted model of 7 B")
    assert line.parity.low == -0.005
    assert line.parity.evaluation_id == evaluation_id


@pytest.mark.parametrize("kind", [VerdictKind.FAIL, VerdictKind.INCONCLUSIVE])
def test_the_newest_evaluation_counts(
    sqlite_database: Database, clock: FrozenClock, kind: VerdictKind
) -> None:
    with sqlite_database.write() as unit:
        version = _own_version(unit, clock, "a")
        _evaluated(unit, clock, version, VerdictKind.PASS)
        clock.advance(1)
        _evaluated(unit, clock, version, kind)
        _move(unit, clock, version.reference, 100)
        _calls(unit, clock, "a", "own", 7)
    report = _report(sqlite_database, clock)
    assert report.score == pytest.approx(80.0)
    (step,) = report.steps
    assert step.words == (
        f"train a better own model for a: a@1 is not certified as good as {GENERAL}"
    )
    assert step.points == pytest.approx(20.0)


def test_the_best_next_step_follows_the_state_of_the_task(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    def best() -> tuple[str, float]:
        step = _report(sqlite_database, clock).steps[0]
        return step.words, step.points

    with sqlite_database.write() as unit:
        _calls(unit, clock, "a", "external", 10)
    assert best() == (
        "train an own model for a and, once it has passed, let it answer every call",
        100.0,
    )
    with sqlite_database.write() as unit:
        version = _own_version(unit, clock, "a")
    assert best() == ("roll a@1 out, so that it answers every a call", 100.0)
    with sqlite_database.write() as unit:
        _move(unit, clock, "a@1", 25)
        _calls(unit, clock, "a", "own", 10)
    assert best() == ("evaluate a@1 against the general model and let it answer every a call", 60.0)
    with sqlite_database.write() as unit:
        _evaluated(unit, clock, version, VerdictKind.PASS)
    assert best() == ("let a@1 answer every a call; it gets 25 % now", 40.0)
    with sqlite_database.write() as unit:
        _move(unit, clock, "a@1", 100)
    assert best()[0].startswith("wait: a@1 answers every a call now")


def test_an_earlier_window_is_seen_with_the_routes_of_then(
    database: Database, clock: FrozenClock
) -> None:
    start = clock.now()
    with database.write() as unit:
        _calls(unit, clock, "a", "local", 5)
    clock.advance(60)
    middle = clock.now()
    clock.advance(60)
    with database.write() as unit:
        version = _own_version(unit, clock, "a")
        _evaluated(unit, clock, version, VerdictKind.PASS)
        _move(unit, clock, version.reference, 100)
        _calls(unit, clock, "a", "own", 5)
    clock.advance(60)
    with database.read() as unit:
        before = independence_in(unit, Window(since=start, until=middle))
        after = independence_in(unit, Window(since=middle, until=clock.now()))
        with pytest.raises(Invalid):
            independence_in(unit, Window(since=middle, until=middle))
    assert (before.score, after.score) == (20.0, 100.0)
    assert before.tasks[0].own_version is None
    assert before.days == after.days == 1
    assert before.steps[0].words.startswith("train an own model for a")


def test_steps_come_largest_first(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        _calls(unit, clock, "small", "external", 1)
        _calls(unit, clock, "large", "external", 99)
        rejected = _own_version(unit, clock, "small")
        versions.set_status(
            unit, rejected.id, VersionStatus.REJECTED, by="gate", why="", at=clock.now()
        )
    steps = _report(sqlite_database, clock).steps
    assert [step.task for step in steps] == ["large", "small"]
    assert steps[0].points == pytest.approx(20 + 39.6 + 10, abs=0.05)
    assert steps[1].words.startswith("train an own model for small")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"candidate": "a@2", "weight_bp": 0}, None),
        ({"candidate": "a@2", "weight_bp": 1}, ("a@2", 1)),
        ({"incumbent": "a@1", "candidate": "a@2", "weight_bp": 4000}, ("a@1", 6000)),
        ({"incumbent": "a@1", "candidate": "a@2", "weight_bp": 6000}, ("a@2", 6000)),
        ({"incumbent": "a@1", "pin": GENERAL}, None),
        ({"pin": "a@3"}, ("a@3", 10_000)),
        ({"incumbent": ""}, None),
    ],
)
def test_which_own_version_answers(
    change: dict[str, Any], expected: tuple[str, int] | None
) -> None:
    found = serving(replace(routes.implicit("a", (GENERAL,)), **change))
    assert (None if found is None else (found.reference, found.weight_bp)) == expected


@pytest.mark.parametrize("days", [0, -1, 10_000])
def test_a_window_has_days(sqlite_database: Database, clock: FrozenClock, days: int) -> None:
    with pytest.raises(Invalid), sqlite_database.read() as unit:
        independence(unit, now=clock.now(), days=days)


def test_the_series_show_the_report(sqlite_database: Database, clock: FrozenClock) -> None:
    def value(name: str, **labels: str) -> float | None:
        return REGISTRY.get_sample_value(name, labels)

    observe(_report(sqlite_database, clock))
    assert math.isnan(value("inhouse_independence_score") or 0.0)
    with sqlite_database.write() as unit:
        _calls(unit, clock, "a", "own", 1)
        _calls(unit, clock, "a", "local", 3)
    observe(_report(sqlite_database, clock))
    assert value("inhouse_independence_score") == pytest.approx(10 + 25)
    assert value("inhouse_independence_points", part="dependence") == pytest.approx(25)
    assert value("inhouse_own_answer_ratio", task="a") == pytest.approx(0.25)
    clock.advance(30 * 86_400)
    observe(_report(sqlite_database, clock))
    assert value("inhouse_own_answer_ratio", task="a") is None
