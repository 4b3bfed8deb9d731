"""What people do with experiments, and how one ends. Each verb is one transaction, by
compare-and-set."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.ids import new_id
from inhouse.db.unit import WriteUnit
from inhouse.registry import move, routes
from inhouse.rollout import audit, intake, split
from inhouse.rollout import experiment_records as records
from inhouse.rollout.experiment_records import KIND, ExperimentRecord
from inhouse.rollout.findings import EXPERIMENTS, ExperimentState, Findings, Question
from inhouse.rollout.plan import FULL_BP
from inhouse.tasks.spec import TaskSpec, Unit


def start(
    unit: WriteUnit,
    spec: TaskSpec,
    question: Question,
    *,
    actor: str,
    reason: str,
    at: datetime,
) -> ExperimentRecord:
    """Split a task between the two references of a question.

    What answers everything now answers again afterwards. Raises Conflict when a rollout or another
    experiment of the task runs (``rollout-running``, ``experiment-running``), (``route-pinned``,
    ``route-split``) when somebody holds the route otherwise, (``version-status``,
    ``task-revision``) for a reference that may not answer; Invalid for one that cannot, for a judge
    that cannot judge them (``audit-judge``), and where nothing answers the task yet
    (``experiment-incumbent``).
    """
    said: dict[str, Any] = {"actor": actor, "reason": reason, "at": at}
    experiment_id = new_id()
    owner = split.take(unit, spec, KIND, experiment_id)
    if owner.owner_id != experiment_id:
        raise _taken(spec, owner.kind)
    for reference in sorted((question.a, question.b)):
        move.check_candidate(unit, spec, reference, lock=True)
    audit.check_judge(spec, question.judge, question.a, question.b)
    before = split.settle(unit, spec, **said)
    if not before.incumbent:
        raise Invalid(
            f"nothing answers {spec.name} yet, so nothing could answer it afterwards",
            code="experiment-incumbent",
            hint="`inhouse routes set --weight 100`",
        )
    route = move.compare(
        unit,
        spec,
        a=question.a,
        b=question.b,
        percent=question.weight_bp * 100 / FULL_BP,
        expect=before.revision,
        **said,
    )
    return records.add(
        unit,
        experiment_id,
        question,
        by_user=spec.unit is not Unit.REQUEST,
        route_revision=route.revision,
        incumbent_before=before.incumbent,
        start=intake.heads(unit),
        **said,
    )


def stop(
    unit: WriteUnit,
    spec: TaskSpec,
    experiment: ExperimentRecord,
    *,
    actor: str,
    reason: str,
    at: datetime,
) -> ExperimentRecord:
    """End an experiment before its verdict; what answered before answers again, at once.

    ``experiment`` is what the caller saw. Raises Conflict when it changed meanwhile
    (``experiment-changed``), or has ended (``experiment-state``).
    """
    found = experiment.findings
    state = ExperimentState.STOPPED
    return end(unit, spec, experiment, state, found, actor=actor, reason=reason, at=at)


def end(
    unit: WriteUnit,
    spec: TaskSpec,
    experiment: ExperimentRecord,
    state: ExperimentState,
    found: Findings,
    *,
    actor: str,
    reason: str,
    at: datetime,
) -> ExperimentRecord:
    """End an experiment in that state, with what was found, and put back what answered before.

    Where somebody moved the route meanwhile, only its incumbent is put back: candidate, weight and
    pin stay as they were set. Raises what ``stop`` raises.
    """
    if experiment.is_over:
        raise Conflict(
            f"the experiment of {experiment.task} is {experiment.state}",
            code="experiment-state",
            hint="look at `inhouse experiment status`",
        )
    EXPERIMENTS.check(experiment.state, state)
    told = replace(found, ended_by=actor, why=reason)
    ended = records.change(unit, experiment, told, state=state.value, ended_at=at)
    _put_back(unit, spec, experiment, actor=actor, reason=reason, at=at)
    split.release(unit, experiment.id)
    return ended


def _put_back(
    unit: WriteUnit,
    spec: TaskSpec,
    experiment: ExperimentRecord,
    *,
    actor: str,
    reason: str,
    at: datetime,
) -> None:
    route = routes.current(unit, spec.name)
    if route is None:
        return
    is_moved = route.revision != experiment.route_revision
    is_right = route.incumbent != experiment.question.a or (
        route.incumbent == experiment.incumbent_before
    )
    if is_moved and is_right:
        return
    move.reseat(
        unit,
        spec,
        experiment.incumbent_before,
        actor=actor,
        reason=reason,
        at=at,
        expect=route.revision,
        keep=is_moved,
    )


def _taken(spec: TaskSpec, kind: str) -> Conflict:
    message = f"{spec.name} has {split.A[kind]} that has not ended"
    if kind == KIND:
        return Conflict(
            message, code="experiment-running", hint="`inhouse experiment stop` ends it"
        )
    return Conflict(message, code="rollout-running", hint="`inhouse rollout rollback` ends it")
