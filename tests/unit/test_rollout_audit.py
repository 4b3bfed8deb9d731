"""Labels that do not know the arm: who is drawn, what an auditor sees, and what a label counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import pytest

from inhouse.core.errors import BackendError, Conflict, Invalid, NotFound
from inhouse.core.ids import new_id
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.feedback.submit import FeedbackRecord, list_for, submit
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.interactions.insert import insert
from inhouse.interactions.record import InteractionRecord
from inhouse.jobs import queue
from inhouse.jobs.queue import JobRecord
from inhouse.jobs.worker import Worker
from inhouse.rollout import audit, intake_records, judge, steer
from inhouse.rollout.controller import Controller
from inhouse.rollout.owner import of_rollout
from inhouse.rollout.plan import FULL_BP, Metric, Plan
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import RolloutRecord
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskKind
from inhouse.testing.clock import FrozenClock
from inhouse.testing.rollouts import SPEC
from inhouse.testing.traffic import Traffic

CATALOG = Catalog([SPEC])
PLAN = Plan(
    steps_bp=(5000, FULL_BP),
    margin=0.2,
    first_outcomes=10**6,
    min_success=None,
    max_p95_s=None,
    guardrails=(Metric.SUCCESS, Metric.CORRECT),
    audit=0.5,
)
JUDGED = replace(PLAN, audit=1.0, judge="embedded/judge")


def begin(database: Database, clock: FrozenClock, plan: Plan = PLAN) -> RolloutRecord:
    said: dict[str, Any] = {"actor": "ada", "reason": "", "at": clock.now()}
    with database.write() as unit:
        return steer.start(unit, SPEC, candidate="embedded/new", plan=plan, **said)


def drawn(database: Database, rollout: RolloutRecord, limit: int = 100) -> list[audit.Drawn]:
    with database.read() as unit:
        return audit.next_drawn(unit, SPEC, of_rollout(unit, rollout), limit)


def tell(
    database: Database,
    clock: FrozenClock,
    interaction_id: str,
    value: Mapping[str, Any],
    author: str = "eve",
) -> FeedbackRecord:
    with database.write() as unit:
        return audit.label(
            unit, CATALOG, SPEC, interaction_id, value, author=author, at=clock.now()
        )


def labels_of(database: Database, rollout: RolloutRecord) -> dict[str, float]:
    """What was counted, by call."""
    with database.read() as unit:
        stored = intake_records.list_intakes(unit, rollout.id)
    return {label.interaction_id: label.error for one in stored for label in one.labels}


def test_a_hash_draws_a_share_of_both_arms(sqlite_database: Database, clock: FrozenClock) -> None:
    begin(sqlite_database, clock)
    calls = Traffic(sqlite_database, SPEC, clock).send(2000)
    chosen = {one.id for one in calls if audit.is_drawn(0.5, one.id)}
    for arm in ("incumbent", "candidate"):
        of_arm = [one.id for one in calls if one.arm == arm]
        assert 0.4 < len(chosen & set(of_arm)) / len(of_arm) < 0.6, "five deviations"
    few = {one.id for one in calls if audit.is_drawn(0.1, one.id)}
    assert few <= chosen, "a larger share keeps what a smaller one has"
    assert [audit.is_drawn(share, calls[0].id) for share in (0.0, 1.0)] == [False, True]


def test_an_auditor_sees_drawn_calls_and_no_arm(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    calls = []
    for _ in range(30):
        clock.advance(1)
        calls += Traffic(database, SPEC, clock, process=new_id()).send(1)
    hashed = replace_call(calls[0], input={"sha256": "00"})
    with database.write() as unit:
        insert(unit, [hashed])
    wanted = [one.id for one in reversed(calls) if audit.is_drawn(0.5, one.id)]
    assert len(wanted) > 3
    found = drawn(database, rollout)
    assert [one.interaction_id for one in found] == wanted
    assert {tuple(asdict(one)) for one in found} == {("interaction_id", "input", "output")}
    assert found[0].output == {"label": "good"}
    tell(database, clock, wanted[0], {"correct": True})
    with database.write() as unit:
        say = {"author": None, "idempotency_key": None, "at": clock.now(), "catalog": CATALOG}
        submit(unit, interaction_id=wanted[1], kind="outcome", value="bad", **say)
    assert [one.interaction_id for one in drawn(database, rollout, 1)] == wanted[2:3]
    with pytest.raises(Invalid, match="limit"):
        drawn(database, rollout, 101)


def replace_call(call: InteractionRecord, **changes: Any) -> InteractionRecord:
    fields = {name: getattr(call, name) for name in call.__struct_fields__}
    return InteractionRecord(**{**fields, "id": new_id(), **changes})


def test_only_drawn_calls_get_a_label_and_one_each(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    calls = Traffic(database, SPEC, clock).send(40)
    others = [one.id for one in calls if not audit.is_drawn(0.5, one.id)]
    first, second, third = (one.interaction_id for one in drawn(database, rollout)[:3])
    for interaction_id in (others[0], new_id()):
        with pytest.raises(Conflict, match="was not drawn"):
            tell(database, clock, interaction_id, {"correct": True})
    stored = tell(database, clock, first, {"output": "bad"})
    assert (stored.kind, stored.value) == ("audit", {"output": {"label": "bad"}})
    assert tell(database, clock, first, {"output": {"label": "bad"}}) == stored
    for author, value in (("eve", {"correct": True}), ("bob", {"output": "bad"})):
        with pytest.raises(Conflict, match="has a label"):
            tell(database, clock, first, value, author)
    say = {"author": None, "idempotency_key": None, "at": clock.now(), "catalog": CATALOG}
    with database.write() as unit:
        submit(unit, interaction_id=second, kind="outcome", value="bad", **say)
    with pytest.raises(Conflict, match="has a label"):
        tell(database, clock, second, {"correct": True})
    for value in ({}, {"correct": "yes"}, {"output": "bad", "correct": True}, {"output": "no"}):
        with pytest.raises(Invalid):
            tell(database, clock, third, value)
    with pytest.raises(Invalid, match="drawn for it"), database.write() as unit:
        submit(unit, interaction_id=third, kind="audit", value={"correct": True}, **say)
    with database.read() as unit:
        assert list_for(unit, third) == []


def test_nothing_is_drawn_without_a_rollout_that_audits(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    with sqlite_database.read() as unit, pytest.raises(NotFound):
        audit.open_audit(unit, SPEC.name)
    rollout = begin(sqlite_database, clock, replace(PLAN, audit=0.0))
    [call] = Traffic(sqlite_database, SPEC, clock).send(1)
    with pytest.raises(Conflict, match="draws no calls"):
        tell(sqlite_database, clock, call.id, {"correct": True})
    assert drawn(sqlite_database, rollout) == []


def test_labels_count_by_what_they_say(sqlite_database: Database, clock: FrozenClock) -> None:
    rollout = begin(sqlite_database, clock, replace(PLAN, audit=1.0))
    traffic = Traffic(sqlite_database, SPEC, clock)
    right, wrong, same, other = (one.id for one in traffic.send(4))
    [failed] = traffic.send(1, bad=(1.0, 1.0))
    steps = Reconciler(sqlite_database, clock, CATALOG)
    assert drawn(sqlite_database, rollout)[0].output is None
    said = {
        right: {"correct": True},
        wrong: {"correct": False},
        same: {"output": "good"},
        other: {"output": "bad"},
        failed.id: {"correct": True},
    }
    for interaction_id, value in said.items():
        tell(sqlite_database, clock, interaction_id, value)
    for kind, value in (("correction", "bad"), ("rating", 0)):
        with sqlite_database.write() as unit:
            say = {"author": None, "idempotency_key": None, "at": clock.now(), "catalog": CATALOG}
            submit(unit, interaction_id=right, kind=kind, value=value, **say)
    assert steps.step(rollout.id) is None
    assert labels_of(sqlite_database, rollout) == {
        right: 0.0,
        wrong: 1.0,
        same: 0.0,
        other: 1.0,
        failed.id: 1.0,
    }


def test_audits_roll_a_wrong_candidate_back(sqlite_database: Database, clock: FrozenClock) -> None:
    rollout = begin(sqlite_database, clock)
    arms = {one.id: one.arm for one in Traffic(sqlite_database, SPEC, clock).send(300)}
    for one in drawn(sqlite_database, rollout):
        is_right = arms[one.interaction_id] == "incumbent"
        tell(sqlite_database, clock, one.interaction_id, {"correct": is_right})
    made = Reconciler(sqlite_database, clock, CATALOG).step(rollout.id)
    assert made is not None
    assert made.kind == "roll_back"


class Judging:
    """A model that says the same every time, or fails."""

    hosting = Hosting.LOCAL
    reference = "embedded/judge"

    def __init__(self, *said: str | Exception) -> None:
        self.said = list(said)
        self.asked: list[Question] = []

    async def answer(self, question: Question) -> Reply:
        self.asked.append(question)
        step = self.said.pop(0) if len(self.said) > 1 else self.said[0]
        if isinstance(step, Exception):
            raise step
        return Reply(content=step, usage=Usage())

    async def close(self) -> None:
        return None


def run_job(database: Database, clock: FrozenClock, model: Judging) -> JobRecord | None:
    handler = judge.Judge(database, CATALOG, clock, lambda _: model)
    return Worker(database, {judge.JOB: handler}, clock=clock, name="w").run_next()


def test_a_judge_is_asked_the_tasks_question(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock, JUDGED)
    traffic = Traffic(database, SPEC, clock)
    calls = traffic.send(6)
    controller = Controller(database, clock, CATALOG, name="c")
    controller.tick()
    clock.advance(11)
    controller.tick()
    with database.read() as unit:
        assert [one.name for one in queue.list_jobs(unit)] == [judge.JOB], "one at a time"
    model = Judging(BackendError("busy", code="upstream-status"), "nonsense", "nonsense", "bad")
    done = run_job(database, clock, model)
    assert done is not None
    assert (done.status, done.result) == (JobStatus.DONE, {"judged": 4, "failed": 2})
    assert {one.messages[0].content for one in model.asked if len(one.messages) == 1} == {"x"}
    with database.read() as unit:
        said = [one for call in calls for one in list_for(unit, call.id)]
    assert {(one.kind, one.author) for one in said} == {("audit", "judge:embedded/judge")}
    assert [one.value for one in said] == [{"output": {"label": "bad"}}] * 4, "none is wrong"
    clock.advance(11)
    controller.tick()
    assert set(labels_of(database, rollout).values()) == {1.0}
    with database.read() as unit:
        assert len(queue.list_jobs(unit)) == 1, "not more often than once in a minute"
    clock.advance(60)
    controller.tick()
    assert run_job(database, clock, Judging("good")) is not None
    assert drawn(database, rollout) == []
    clock.advance(120)
    controller.tick()
    clock.advance(120)
    controller.tick()
    with database.read() as unit:
        assert len(queue.list_jobs(unit)) == 2, "nothing waits"


def test_a_judge_that_fails_again_and_again_is_left_alone(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock, JUDGED)
    Traffic(sqlite_database, SPEC, clock).send(20)
    with sqlite_database.write() as unit:
        judge.request(unit, of_rollout(unit, rollout), clock.now())
    model = Judging(BackendError("down", code="upstream-status"))
    done = run_job(sqlite_database, clock, model)
    assert done is not None
    assert done.status is JobStatus.FAILED
    assert "5 times in a row" in (done.error or "")
    assert len(model.asked) == 5
    assert len(drawn(sqlite_database, rollout)) == 20


def test_a_judge_judges_no_texts_and_not_itself() -> None:
    arms = ("embedded/general", "tone@1")
    audit.check_judge(SPEC, "", *arms)
    audit.check_judge(SPEC, "embedded/judge", *arms)
    text = replace(SPEC, kind=TaskKind.TEXT)
    refused = {
        "kind text": (text, "embedded/judge"),
        "no general model": (SPEC, "tone@2"),
        "its own answers": (SPEC, "embedded/general"),
    }
    for words, (spec, name) in refused.items():
        with pytest.raises(Invalid, match=words) as error:
            audit.check_judge(spec, name, *arms)
        assert error.value.code == "audit-judge"
    with pytest.raises(Invalid, match="share"):
        replace(JUDGED, audit=0.0)
