"""Labels of inputs that a shadow answered too: both answers are held against one truth."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.feedback.submit import submit
from inhouse.inference.base import Hosting, Question, Reply, Usage
from inhouse.interactions.record import InteractionRecord
from inhouse.jobs.worker import Worker
from inhouse.rollout import audit, history, intake_records, judge, records, replay, steer
from inhouse.rollout.controller import Controller
from inhouse.rollout.guardrails import ShadowEvidence
from inhouse.rollout.intake_records import LabelRecord
from inhouse.rollout.owner import of_rollout
from inhouse.rollout.plan import FULL_BP, Metric, Plan, RolloutState
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.sequential.paired import PairedHarm
from inhouse.rollout.tally import as_json, from_json
from inhouse.tasks.catalog import Catalog
from inhouse.testing.clock import FrozenClock
from inhouse.testing.rollouts import SPEC
from inhouse.testing.traffic import Traffic

CATALOG = Catalog([SPEC])
PLAN = Plan(
    steps_bp=(5000, FULL_BP),
    margin=0.2,
    min_success=None,
    max_p95_s=None,
    guardrails=(Metric.SUCCESS, Metric.CORRECT),
    promote_on=(Metric.SUCCESS, Metric.CORRECT),
    shadow_inputs=10_000,
    audit=1.0,
)


def begin(database: Database, clock: FrozenClock, plan: Plan = PLAN) -> RolloutRecord:
    said: dict[str, Any] = {"actor": "ada", "reason": "", "at": clock.now()}
    with database.write() as unit:
        return steer.start(unit, SPEC, candidate="embedded/new", plan=plan, **said)


def drawn(database: Database, rollout: RolloutRecord) -> list[audit.Drawn]:
    with database.read() as unit:
        return audit.next_drawn(unit, SPEC, of_rollout(unit, rollout), 100)


def tell(database: Database, clock: FrozenClock, interaction_id: str, **value: Any) -> None:
    with database.write() as unit:
        audit.label(unit, CATALOG, SPEC, interaction_id, value, author="eve", at=clock.now())


def now(database: Database, rollout: RolloutRecord) -> RolloutRecord:
    with database.read() as unit:
        return records.get(unit, rollout.id)


def counted(database: Database, rollout: RolloutRecord) -> list[LabelRecord]:
    with database.read() as unit:
        stored = intake_records.list_intakes(unit, rollout.id)
    return [label for one in stored for label in one.labels]


def shadowed(
    traffic: Traffic, count: int, *, label: str | None = None, bad: float = 0.0
) -> list[InteractionRecord]:
    calls = traffic.send(count)
    traffic.copy(calls, label=label, bad=bad)
    return calls


def test_copied_calls_are_drawn_and_one_answer_is_shown(
    database: Database, clock: FrozenClock
) -> None:
    rollout = begin(database, clock)
    traffic = Traffic(database, SPEC, clock)
    calls = shadowed(traffic, 3, label="bad")
    traffic.send(2)
    found = drawn(database, rollout)
    assert {one.interaction_id for one in found} == {one.id for one in calls}, "not those alone"
    assert {one.output["label"] for one in found} == {"good"}, "what the caller got"
    with database.read() as unit:
        few = replace(of_rollout(unit, rollout), audit=0.5)
        some = {one.interaction_id for one in audit.next_drawn(unit, SPEC, few, 100)}
    assert some == {one.id for one in calls if audit.is_drawn(0.5, one.id)}


def test_a_label_says_what_is_right(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    traffic = Traffic(database, SPEC, clock)
    [alone] = traffic.send(1)
    [call] = shadowed(traffic, 1)
    with pytest.raises(Invalid, match="too little") as refused:
        tell(database, clock, call.id, correct=True)
    assert refused.value.code == "audit-value"
    with pytest.raises(Conflict, match="was not drawn"):
        tell(database, clock, alone.id, output="good")
    tell(database, clock, call.id, output="good")
    assert drawn(database, rollout) == []


def test_both_answers_are_held_against_it(database: Database, clock: FrozenClock) -> None:
    rollout = begin(database, clock)
    traffic = Traffic(database, SPEC, clock)
    said = {"same": "good", "better": "bad", "worse": "bad"}
    ids = {name: shadowed(traffic, 1, label=label)[0].id for name, label in said.items()}
    ids["dumb"] = shadowed(traffic, 1, bad=1.0)[0].id
    unanswered = traffic.send(1, bad=(1.0, 1.0))
    traffic.copy(unanswered, label="good")
    ids["rescue"] = unanswered[0].id
    for name, call_id in ids.items():
        tell(database, clock, call_id, output="bad" if name == "better" else "good")
    Reconciler(database, clock, CATALOG).step(rollout.id)
    found = {one.interaction_id: one for one in counted(database, rollout)}
    errors = {name: (found[one].error, found[one].paired_error) for name, one in ids.items()}
    assert errors == {
        "same": (0.0, 0.0),
        "better": (0.0, 1.0),
        "worse": (1.0, 0.0),
        "dumb": (1.0, 0.0),
        "rescue": (0.0, 1.0),
    }


def test_late_truths_count_too(sqlite_database: Database, clock: FrozenClock) -> None:
    rollout = begin(sqlite_database, clock, replace(PLAN, audit=0.0))
    [call] = shadowed(Traffic(sqlite_database, SPEC, clock), 1, label="bad")
    say = {"author": None, "idempotency_key": None, "at": clock.now(), "catalog": CATALOG}
    for kind, value in (("rating", 0), ("correction", "bad"), ("outcome", "good")):
        with sqlite_database.write() as unit:
            submit(unit, interaction_id=call.id, kind=kind, value=value, **say)
    Reconciler(sqlite_database, clock, CATALOG).step(rollout.id)
    [label] = counted(sqlite_database, rollout)
    assert (label.error, label.paired_error) == (1.0, 0.0)
    with sqlite_database.read() as unit:
        arms = history.arms(unit, now(sqlite_database, rollout))
    assert [one.labels for one in arms] == [0, 0], "copies are no arm's calls"


def test_a_wrong_candidate_is_rolled_back_before_anybody_meets_it(
    database: Database, clock: FrozenClock
) -> None:
    rollout = begin(database, clock)
    for call in shadowed(Traffic(database, SPEC, clock), 40, label="bad"):
        tell(database, clock, call.id, output="good")
    made = Reconciler(database, clock, CATALOG).step(rollout.id)
    assert made is not None
    assert (made.kind, made.weight_bp) == ("roll_back", 0)
    assert made.evidence["harm"] >= 20


def test_what_must_be_certified_needs_labels(sqlite_database: Database, clock: FrozenClock) -> None:
    rollout = begin(sqlite_database, clock)
    calls = shadowed(Traffic(sqlite_database, SPEC, clock), 150)
    steps = Reconciler(sqlite_database, clock, CATALOG)
    assert steps.step(rollout.id) is None, "success is certain, and nobody knows what is right"
    for call in calls:
        tell(sqlite_database, clock, call.id, output="good")
    made = steps.step(rollout.id)
    assert made is not None
    assert made.kind == "ramp"
    assert now(sqlite_database, rollout).state is RolloutState.RAMPING


def test_labels_that_come_after_the_shadow_count_for_nothing(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock, replace(PLAN, promote_on=(Metric.SUCCESS,)))
    calls = shadowed(Traffic(sqlite_database, SPEC, clock), 150)
    steps = Reconciler(sqlite_database, clock, CATALOG)
    assert steps.step(rollout.id) is not None
    with pytest.raises(Conflict, match="was not drawn"):
        tell(sqlite_database, clock, calls[0].id, output="bad")
    say = {"author": None, "idempotency_key": None, "at": clock.now(), "catalog": CATALOG}
    with sqlite_database.write() as unit:
        submit(unit, interaction_id=calls[0].id, kind="outcome", value="bad", **say)
    steps.step(rollout.id)
    assert counted(sqlite_database, rollout) == []


def test_the_evidence_reads_back_the_same(sqlite_database: Database, clock: FrozenClock) -> None:
    rollout = begin(sqlite_database, clock)
    traffic = Traffic(sqlite_database, SPEC, clock)
    steps = Reconciler(sqlite_database, clock, CATALOG)
    for said, truth in (("good", "good"), ("bad", "good"), ("bad", "bad"), ("good", "bad")):
        for call in shadowed(traffic, 3, label=said):
            tell(sqlite_database, clock, call.id, output=truth)
        clock.advance(10)
        steps.step(rollout.id)
    with sqlite_database.read() as unit:
        again = replay.rebuild(unit, now(sqlite_database, rollout)).tally.shadow()
        stored = intake_records.last_intake(unit, rollout.id)
    assert stored is not None
    assert from_json(stored.reading) == again
    assert (again.inputs, again.labels) == (12, 12)


def test_a_label_that_was_kept_without_a_pair_is_read() -> None:
    kept = ["f", "i", "u", True, 5000, 1.0]
    label = intake_records.label_of(kept)
    assert (label.error, label.paired_error) == (1.0, None)


def test_a_reading_that_was_kept_without_labels_is_read() -> None:
    stored = as_json(ShadowEvidence(PLAN).reading())
    stored.pop("labels")
    assert from_json(stored) == ShadowEvidence(PLAN).reading()


class Sure:
    """A model that says the same every time."""

    hosting = Hosting.LOCAL
    reference = "embedded/judge"

    async def answer(self, question: Question) -> Reply:
        return Reply(content="good", usage=Usage())

    async def close(self) -> None:
        return None


def test_a_judge_is_asked_while_a_candidate_shadows(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    rollout = begin(sqlite_database, clock, replace(PLAN, judge="embedded/judge"))
    shadowed(Traffic(sqlite_database, SPEC, clock), 40, label="bad")
    controller = Controller(sqlite_database, clock, CATALOG, name="c")
    assert controller.tick() == []
    handler = judge.Judge(sqlite_database, CATALOG, clock, lambda _: Sure())
    done = Worker(sqlite_database, {judge.JOB: handler}, clock=clock, name="w").run_next()
    assert done is not None
    assert (done.status, done.result) == (JobStatus.DONE, {"judged": 40, "failed": 0})
    clock.advance(1)
    [made] = controller.tick()
    assert made.kind == "roll_back"
    assert now(sqlite_database, rollout).state is RolloutState.ROLLED_BACK


def evidence(*guardrails: Metric, promote_on: tuple[Metric, ...] = ()) -> ShadowEvidence:
    on = promote_on or guardrails[:1]
    return ShadowEvidence(replace(PLAN, guardrails=guardrails, promote_on=on))


def test_harm_is_the_mean_of_what_pairs_tell_about() -> None:
    both = evidence(Metric.SUCCESS, Metric.CORRECT, Metric.P95)
    success, labels = evidence(Metric.SUCCESS), evidence(Metric.CORRECT)
    for one in (both, success, labels):
        for _ in range(5):
            one.answered(candidate_bad=True, incumbent_bad=False)
        for _ in range(3):
            one.labelled(candidate_error=0.0, incumbent_error=1.0)
    assert both.reading().harm == (success.reading().harm + labels.reading().harm) / 2
    assert success.reading().harm > 1.0 > labels.reading().harm
    assert evidence(Metric.P95).reading() == success.reading()._replace(
        inputs=0, harm=1.0, certificate=1.0, labels=0
    ), "where no guardrail is of pairs, success is"


def test_the_certificate_is_that_of_the_metric_where_it_is_least() -> None:
    one = evidence(Metric.SUCCESS, Metric.CORRECT, promote_on=(Metric.SUCCESS, Metric.CORRECT))
    for _ in range(200):
        one.answered(candidate_bad=False, incumbent_bad=False)
    assert one.reading().certificate == 1.0
    for _ in range(200):
        one.labelled(candidate_error=0.1, incumbent_error=0.1)
    assert one.reading().certificate > 20.0


def test_degrees_bet_by_their_size() -> None:
    whole, half, none = PairedHarm(), PairedHarm(), PairedHarm()
    for _ in range(10):
        whole.add(candidate_bad=1.0, incumbent_bad=0.0)
        half.add(candidate_bad=0.75, incumbent_bad=0.25)
        none.add(candidate_bad=0.4, incumbent_bad=0.4)
    assert whole.evidence > half.evidence > none.evidence == 1.0
