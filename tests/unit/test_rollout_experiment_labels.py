"""Arm-blind labels of an experiment: who is drawn, who is asked, and that they decide it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from inhouse.core.errors import Conflict, InhouseError, Invalid, NotFound
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.feedback.submit import list_for
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.interactions.record import InteractionRecord
from inhouse.jobs import queue
from inhouse.jobs.worker import Worker
from inhouse.rollout import audit, experiments, judge
from inhouse.rollout import experiment_records as records
from inhouse.rollout.conduct import Conductor
from inhouse.rollout.controller import Controller
from inhouse.rollout.declared import question_of
from inhouse.rollout.experiment_records import ExperimentRecord
from inhouse.rollout.findings import ExperimentState, Unanswerable
from inhouse.rollout.owner import of_experiment
from inhouse.settings import RolloutSettings
from inhouse.tasks.catalog import Catalog
from inhouse.testing.clock import FrozenClock
from inhouse.testing.rollouts import SPEC
from inhouse.testing.traffic import Traffic

CATALOG = Catalog([SPEC])
AUDITED = RolloutSettings(audit=0.5)
JUDGED = RolloutSettings(audit=1.0, judge="embedded/judge")
ASKED: dict[str, Any] = {"a": "embedded/one", "b": "embedded/two", "weight": 50.0}
ASKED |= {"metric": "correct", "horizon": 160, "looks": 2, "alpha": 0.05}
SAID: dict[str, Any] = {"actor": "ada", "reason": "because"}


def begin(
    database: Database, clock: FrozenClock, settings: RolloutSettings = AUDITED, **changes: Any
) -> ExperimentRecord:
    question = question_of("tone", settings, **{**ASKED, **changes})
    with database.write() as unit:
        return experiments.start(unit, SPEC, question, at=clock.now(), **SAID)


def drawn(database: Database) -> list[audit.Drawn]:
    with database.read() as unit:
        return audit.next_drawn(unit, SPEC, audit.open_audit(unit, "tone"), 100)


def tell(
    database: Database, clock: FrozenClock, interaction_id: str, value: Mapping[str, Any]
) -> None:
    with database.write() as unit:
        said: dict[str, Any] = {"author": "eve", "at": clock.now()}
        audit.label(unit, CATALOG, SPEC, interaction_id, value, **said)


def now(database: Database, begun: ExperimentRecord) -> ExperimentRecord:
    with database.read() as unit:
        return records.get(unit, begun.id)


def end(database: Database, clock: FrozenClock, begun: ExperimentRecord) -> None:
    with database.write() as unit:
        experiments.stop(unit, SPEC, now(database, begun), at=clock.now(), **SAID)


def arms(calls: list[InteractionRecord]) -> set[str | None]:
    return {one.arm for one in calls}


def test_calls_of_both_arms_are_drawn_until_it_ends(database: Database, clock: FrozenClock) -> None:
    with pytest.raises(NotFound, match="no rollout or experiment of tone runs"):
        drawn(database)
    first = begin(database, clock)
    calls = Traffic(database, SPEC, clock).send(60)
    chosen = {one.id for one in calls if audit.is_drawn(0.5, one.id)}
    assert {one.interaction_id for one in drawn(database)} == chosen
    assert arms([one for one in calls if one.id in chosen]) == {"incumbent", "candidate"}
    other = next(one.id for one in calls if one.id not in chosen)
    with pytest.raises(Conflict, match="was not drawn"):
        tell(database, clock, other, {"correct": True})
    early, late = sorted(chosen)[:2]
    tell(database, clock, early, {"output": "bad"})
    assert early not in {one.interaction_id for one in drawn(database)}
    end(database, clock, first)
    with pytest.raises(NotFound):
        tell(database, clock, late, {"correct": True})
    begin(database, clock)
    assert drawn(database) == [], "calls of the one before are not its own"
    with pytest.raises(Conflict, match="was not drawn"):
        tell(database, clock, late, {"correct": True})


def test_a_label_from_a_clock_that_is_ahead_hides_no_others(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock, audit=1.0)
    calls = Traffic(sqlite_database, SPEC, clock).send(2)
    ahead = FrozenClock()
    ahead.advance(86_400)
    loop = Conductor(sqlite_database, clock, CATALOG)
    for its_clock, call in zip((ahead, clock), calls, strict=True):
        tell(sqlite_database, its_clock, call.id, {"correct": True})
        for _ in range(3):
            loop.step(begun.id)
            clock.advance(1)
    assert now(sqlite_database, begun).findings.outcomes == 2


def test_audits_decide_what_is_right(sqlite_database: Database, clock: FrozenClock) -> None:
    begun = begin(sqlite_database, clock, horizon=80, looks=1)
    calls = {one.id: one for one in Traffic(sqlite_database, SPEC, clock).send(300)}
    loop = Conductor(sqlite_database, clock, CATALOG)
    assert loop.step(begun.id) is None
    asked = 0
    for one in drawn(sqlite_database):
        is_right = calls[one.interaction_id].arm == "candidate" or (asked := asked + 1) % 5 > 0
        tell(sqlite_database, clock, one.interaction_id, {"correct": is_right})
    ended = loop.step(begun.id)
    assert ended is not None
    assert (ended.state, ended.findings.winner) == (ExperimentState.CONCLUDED, "b")
    assert ended.findings.outcomes >= 80
    assert "is better by" in (ended.findings.recommendation or "")


def test_one_that_counts_no_labels_draws_none(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock, JUDGED, metric="success")
    assert (begun.question.audit, begun.question.judge) == (0.0, "")
    with pytest.raises(Conflict, match="an experiment of tone runs, and draws no calls") as caught:
        drawn(sqlite_database)
    assert caught.value.code == "audit-off"
    Traffic(sqlite_database, SPEC, clock).send(5)
    Controller(sqlite_database, clock, CATALOG, name="c").tick()
    with sqlite_database.read() as unit:
        assert queue.list_jobs(unit) == []


class Judging:
    """A model that always says the same."""

    hosting = Hosting.LOCAL
    reference = "embedded/judge"

    def __init__(self, said: str) -> None:
        self.said = said
        self.asked: list[Question] = []

    async def answer(self, question: Question) -> Reply:
        self.asked.append(question)
        return Reply(content=self.said, usage=Usage())

    async def close(self) -> None:
        return None


def run_jobs(database: Database, clock: FrozenClock, model: Judging) -> list[Any]:
    handler = judge.Judge(database, CATALOG, clock, lambda _: model)
    worker, results = Worker(database, {judge.JOB: handler}, clock=clock, name="w"), []
    while (done := worker.run_next()) is not None:
        assert done.status is JobStatus.DONE, done.error
        results.append(done.result)
    return results


def test_a_judge_is_asked_by_one_of_many_processes(database: Database, clock: FrozenClock) -> None:
    begun = begin(database, clock, JUDGED)
    calls = Traffic(database, SPEC, clock).send(6)
    askers = [judge.Asking(database, clock, CATALOG) for _ in range(4)]
    ready = threading.Barrier(len(askers))

    def ask(asker: judge.Asking) -> None:
        ready.wait()
        asker.ask(begun.id)

    threads = [threading.Thread(target=ask, args=(asker,)) for asker in askers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as unit:
        assert len(queue.list_jobs(unit)) == 1
    model = Judging("good")
    assert run_jobs(database, clock, model) == [{"judged": 6, "failed": 0}]
    assert {len(one.messages) for one in model.asked} == {1}
    assert {one.messages[0].content for one in model.asked} == {"x"}, "neither arm nor answer"
    with database.read() as unit:
        said = [one for call in calls for one in list_for(unit, call.id)]
    assert {(one.kind, one.author) for one in said} == {("audit", "judge:embedded/judge")}
    assert Conductor(database, clock, CATALOG).step(begun.id) is None
    assert now(database, begun).findings.outcomes == 6


def test_a_judge_that_fails_is_asked_later_and_later(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock, JUDGED)
    owner, waits = of_experiment(begun), []
    with sqlite_database.write() as unit:
        for is_failed in (True, True, True, False):
            judge.request(unit, owner, clock.now())
            assert judge.is_busy(unit, owner, clock.now()), "it is under way"
            job = queue.claim(unit, [judge.JOB], "w", at=clock.now())
            assert job is not None
            if is_failed:
                queue.fail(unit, job, "no", at=clock.now())
            else:
                queue.finish(unit, job, None, at=clock.now())
            began = clock.now()
            while judge.is_busy(unit, owner, clock.now()):
                clock.advance(60)
            waits.append((clock.now() - began).total_seconds() / 60)
    assert waits == [2, 4, 8, 1]


def test_the_controller_asks_while_it_runs(sqlite_database: Database, clock: FrozenClock) -> None:
    begun = begin(sqlite_database, clock, JUDGED)
    controller = Controller(sqlite_database, clock, CATALOG, name="c")
    controller.tick()
    with sqlite_database.read() as unit:
        assert queue.list_jobs(unit) == [], "nothing waits"
    calls = Traffic(sqlite_database, SPEC, clock).send(6)
    clock.advance(11)
    controller.tick()
    with sqlite_database.read() as unit:
        assert len(queue.list_jobs(unit)) == 1
    end(sqlite_database, clock, begun)
    model = Judging("good")
    assert run_jobs(sqlite_database, clock, model) == [{"judged": 0, "failed": 0}]
    assert model.asked == []
    with sqlite_database.read() as unit:
        assert list_for(unit, calls[0].id) == []


def test_a_judge_whose_task_is_gone_waits(sqlite_database: Database, clock: FrozenClock) -> None:
    begun = begin(sqlite_database, clock, JUDGED)
    Traffic(sqlite_database, SPEC, clock).send(6)
    judge.Asking(sqlite_database, clock, Catalog([])).ask(begun.id)
    with sqlite_database.read() as unit:
        assert queue.list_jobs(unit) == []


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"metric": "success", "audit": 0.5}, "audit", "success counts no labels"),
        ({"audit": 1.5}, "audit", "between 0 and 1"),
        ({"audit": 0.0, "judge": "embedded/judge"}, "judge", "needs a share"),
        ({"days": 0.0}, "days", "above 0"),
        ({"days": 4000.0}, "days", "at most 3650 days"),
        ({"horizon": 79, "looks": 2}, "horizon", "at least 80"),
        ({"horizon": 10**8}, "horizon", "at most 10000000"),
        ({"weight": 0.5}, "weight", "between 1 and 99"),
        ({"b": "embedded/one"}, "b", "compared with itself"),
        ({"alpha": 0.5}, "alpha", "between 0.001 and 0.2"),
        ({"looks": 21, "horizon": 10_000}, "looks", "1 to 20 looks"),
    ],
)
def test_a_question_says_what_is_wrong_where(
    changes: dict[str, Any], field: str, words: str
) -> None:
    with pytest.raises(Unanswerable) as caught:
        question_of("tone", AUDITED, **{**ASKED, **changes})
    assert list(caught.value.faults) == [field]
    assert words in caught.value.message
    assert caught.value.code == "experiment-plan"


def test_a_question_is_as_the_task_declares_it() -> None:
    plain = question_of("tone", JUDGED, **ASKED)
    assert (plain.days, plain.audit, plain.judge) == (30.0, 1.0, "embedded/judge")
    said = question_of("tone", JUDGED, **ASKED, days=2.5, audit=0.25, judge="")
    assert (said.days, said.audit, said.judge) == (2.5, 0.25, "")
    assert question_of("tone", JUDGED, **ASKED, audit=0.0).judge == ""
    for_ever = RolloutSettings(time_limit_s=1e12)
    assert question_of("tone", for_ever, **ASKED).days == 3650
    with pytest.raises(Invalid, match="'mood' is not compared"):
        question_of("tone", JUDGED, **{**ASKED, "metric": "mood"})


def test_a_judge_that_is_an_arm_starts_nothing(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with pytest.raises(InhouseError) as caught:
        begin(sqlite_database, clock, RolloutSettings(audit=0.5, judge="embedded/two"))
    assert caught.value.code == "audit-judge"
    with sqlite_database.read() as unit:
        assert records.list_experiments(unit) == records.unfinished(unit) == []


def test_its_time_limit_ends_it_without_a_winner(database: Database, clock: FrozenClock) -> None:
    begun = begin(database, clock, metric="success", days=2.0, horizon=400)
    assert begun.until is not None
    Traffic(database, SPEC, clock).send(30)
    loop = Conductor(database, clock, CATALOG)
    clock.advance(2 * 86_400 - 1)
    assert loop.step(begun.id) is None
    clock.advance(1)
    ended = loop.step(begun.id)
    assert ended is not None
    assert (ended.state, ended.ended_at) == (ExperimentState.INCONCLUSIVE, begun.until)
    found = ended.findings
    assert (found.winner, found.ended_by, found.looks) == (None, "experiment", ())
    assert found.why == (
        "its time limit of 2 days passed with 30 of 400 outcomes, and no look had found a winner; "
        "embedded/general goes on answering"
    )
    with database.read() as unit:
        assert records.unfinished(unit) == []
        assert records.ended_since(unit, begun.created_at) == [ended]
        assert records.ended_since(unit, clock.now()) == []


def test_a_look_that_is_due_comes_before_the_time_limit(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    begun = begin(sqlite_database, clock, metric="success", days=1.0, horizon=80)
    Traffic(sqlite_database, SPEC, clock).send(80)
    clock.advance(2 * 86_400)
    ended = Conductor(sqlite_database, clock, CATALOG).step(begun.id)
    assert ended is not None
    assert ended.state is ExperimentState.CONCLUDED


def test_without_a_time_limit_it_waits(sqlite_database: Database, clock: FrozenClock) -> None:
    question = replace(question_of("tone", AUDITED, **ASKED), days=None)
    with sqlite_database.write() as unit:
        begun = experiments.start(unit, SPEC, question, at=clock.now(), **SAID)
    clock.advance(5000 * 86_400)
    assert Conductor(sqlite_database, clock, CATALOG).step(begun.id) is None
    assert now(sqlite_database, begun).until is None
