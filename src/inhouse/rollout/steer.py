"""What people do with rollouts. Each verb is one transaction, by compare-and-set, and is kept."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import insert

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import WriteUnit
from inhouse.registry import move, routes
from inhouse.rollout import audit, declared, intake, intake_records, records, split
from inhouse.rollout.decide import Kind
from inhouse.rollout.enact import PAUSE, RESUME, START, Act, enact
from inhouse.rollout.plan import ROLLOUTS, Plan, RolloutState
from inhouse.rollout.records import KIND, DecisionRecord, RolloutRecord
from inhouse.rollout.tables import Rollout
from inhouse.tasks.spec import TaskSpec, Unit

_table = table_of(Rollout)


def start(
    unit: WriteUnit,
    spec: TaskSpec,
    *,
    candidate: str,
    plan: Plan,
    actor: str,
    reason: str,
    at: datetime,
    replace: bool = False,
) -> RolloutRecord:
    """Begin to move a task to a candidate.

    What answers everything now is the incumbent. With ``replace`` a rollout that runs is aborted
    and its traffic goes back to the incumbent first. Raises Conflict (``rollout-running``) when one
    runs, (``route-pinned``, ``route-split``) when somebody holds the route otherwise,
    (``version-status``, ``task-revision``) for a candidate that may not answer; Invalid for one
    that cannot, or that is the incumbent (``rollout-candidate``), and for a judge that cannot judge
    them (``audit-judge``).
    """
    said: dict[str, Any] = {"actor": actor, "reason": reason, "at": at}
    rollout_id = new_id()
    _take(unit, spec, rollout_id, candidate, replace=replace, **said)
    move.check_candidate(unit, spec, candidate, lock=True)
    before = split.settle(unit, spec, **said)
    if not before.incumbent:
        raise Invalid(
            f"nothing answers {spec.name} yet, so there is nothing to compare with",
            code="rollout-incumbent",
            hint="`inhouse routes set --weight 100`",
        )
    if candidate == before.incumbent:
        raise Invalid(f"{candidate} is what answers {spec.name} now", code="rollout-candidate")
    audit.check_judge(spec, plan.judge, before.incumbent, candidate)
    state = RolloutState.SHADOWING if plan.shadow_inputs else RolloutState.RAMPING
    weight_bp = 0 if plan.shadow_inputs else plan.weight_bp(0)
    route = move.set_weight(
        unit,
        spec,
        candidate=candidate,
        percent=weight_bp / 100,
        expect=before.revision,
        salt=routes.fresh_salt(),
        **said,
    )
    row = {
        "id": rollout_id,
        "incumbent": before.incumbent,
        "candidate": candidate,
        "state": state.value,
        "salt": route.salt,
        "route_revision": route.revision,
        "actor": actor,
        "reason": reason,
        "created_at": at,
        "step_at": at,
    }
    return _insert(unit, spec, plan, row, weight_bp)


def _insert(
    unit: WriteUnit, spec: TaskSpec, plan: Plan, row: dict[str, Any], weight_bp: int
) -> RolloutRecord:
    """A rollout that has counted nothing yet, where its evidence begins, and who began it."""
    fixed = {
        "task": spec.name,
        "step": 0,
        "plan": declared.as_json(plan),
        "by_user": spec.unit is not Unit.REQUEST,
        "revision": 1,
        "candidate_before": 0,
        "intakes": 1,
    }
    unit.execute(insert(_table).values(**row, **fixed))
    at, heads = row["created_at"], intake.heads(unit)
    intake_records.add_intake(unit, row["id"], 1, counted=sorted(heads.items()), fresh=True, at=at)
    rollout = records.get(unit, row["id"])
    records.add_decision(
        unit,
        rollout,
        kind=START,
        before=RolloutState.PLANNED,
        weight_bp=weight_bp,
        reasons=(rollout.reason,) if rollout.reason else (),
        evidence={},
        route_revision=rollout.route_revision,
        actor=rollout.actor,
        at=at,
    )
    return rollout


def pause(
    unit: WriteUnit, rollout: RolloutRecord, *, actor: str, reason: str, at: datetime
) -> DecisionRecord:
    """Stay at the weight that is in force. Harm still rolls it back. A shadow copies nothing while
    it is paused, so it learns nothing either.

    ``rollout`` is what the caller saw. Raises Conflict when it changed meanwhile, or has ended.
    """
    stopped = rollout.stopped_from or rollout.state
    values = {"stopped_from": stopped.value}
    act = _act(rollout, PAUSE, RolloutState.PAUSED, actor, reason, at, values=values)
    return enact(unit, None, rollout, act)


def resume(
    unit: WriteUnit, rollout: RolloutRecord, *, actor: str, reason: str, at: datetime
) -> DecisionRecord:
    """Go on where a person or evidence stopped it. After a hold, also one that was paused, the
    evidence begins anew: what it held for would hold it again.

    ``rollout`` is what the caller saw. Raises Conflict when it changed meanwhile, or does not stand
    still (``rollout-state``).
    """
    if rollout.stopped_from is None:
        raise Conflict(f"the rollout of {rollout.task} is {rollout.state}", code="rollout-state")
    values: dict[str, Any] = {"stopped_from": None}
    fresh = RolloutState.HELD in (rollout.state, records.decisions(unit, rollout.id)[-1].before)
    if fresh:
        values |= {"candidate_before": 0, "step_at": at}
    target = rollout.stopped_from
    act = _act(rollout, RESUME, target, actor, reason, at, values=values, fresh=fresh)
    return enact(unit, None, rollout, act)


def rollback(
    unit: WriteUnit,
    spec: TaskSpec,
    rollout: RolloutRecord,
    *,
    actor: str,
    reason: str,
    at: datetime,
) -> DecisionRecord:
    """Send everything to the incumbent, at once, and reject the candidate's version.

    ``rollout`` is what the caller saw. Raises Conflict when it changed meanwhile, or has ended.
    """
    return _end(unit, spec, rollout, Kind.ROLL_BACK, RolloutState.ROLLED_BACK, actor, reason, at)


def abort(
    unit: WriteUnit,
    spec: TaskSpec,
    rollout: RolloutRecord,
    *,
    actor: str,
    reason: str,
    at: datetime,
    superseded_by: str | None = None,
) -> DecisionRecord:
    """Send everything to the incumbent, at once; the candidate may start again.

    ``rollout`` is what the caller saw. Raises Conflict when it changed meanwhile, or has ended.
    """
    end = RolloutState.ABORTED
    newer = {"superseded_by": superseded_by}
    return _end(unit, spec, rollout, Kind.ABORT, end, actor, reason, at, newer)


def _end(
    unit: WriteUnit,
    spec: TaskSpec,
    rollout: RolloutRecord,
    kind: Kind,
    state: RolloutState,
    actor: str,
    reason: str,
    at: datetime,
    values: dict[str, Any] | None = None,
) -> DecisionRecord:
    """A route that gives the candidate nothing to do any more stays as it is."""
    _check(rollout, state)
    route = routes.current(unit, rollout.task)
    act = Act(
        kind=kind.value,
        state=state,
        step=0,
        weight_bp=0,
        reasons=(reason,) if reason else (),
        evidence={},
        actor=actor,
        at=at,
        expect=rollout.route_revision if route is None else route.revision,
        leaves_route=route is None or route.candidate != rollout.candidate,
        values={**(values or {}), "stopped_from": None},
    )
    return enact(unit, spec, rollout, act)


def _act(
    rollout: RolloutRecord,
    kind: str,
    state: RolloutState,
    actor: str,
    reason: str,
    at: datetime,
    *,
    values: dict[str, Any],
    fresh: bool = False,
) -> Act:
    _check(rollout, state)
    return Act(
        kind=kind,
        state=state,
        step=rollout.step,
        weight_bp=0 if rollout.is_shadow else rollout.plan.weight_bp(rollout.step),
        reasons=(reason,) if reason else (),
        evidence={},
        actor=actor,
        at=at,
        expect=rollout.route_revision,
        leaves_route=True,
        fresh=fresh,
        values=values,
    )


def _check(rollout: RolloutRecord, target: RolloutState) -> None:
    if target not in ROLLOUTS.table[rollout.state]:
        raise Conflict(
            f"the rollout of {rollout.task} is {rollout.state}; it cannot become {target}",
            code="rollout-state",
            hint="look at `inhouse rollout status`",
        )


def _take(
    unit: WriteUnit,
    spec: TaskSpec,
    rollout_id: str,
    candidate: str,
    *,
    replace: bool,
    actor: str,
    reason: str,
    at: datetime,
) -> None:
    """Own the task's split, or raise Conflict."""
    owner = split.take(unit, spec, KIND, rollout_id)
    if owner.owner_id == rollout_id:
        return
    if owner.kind != KIND or not replace:
        raise Conflict(
            f"{spec.name} has {split.A[owner.kind]} that has not ended",
            code="rollout-running",
            hint="roll it back, or start with --replace" if owner.kind == KIND else "end it first",
        )
    running = records.get(unit, owner.owner_id, lock=True)
    why = reason or f"replaced by {candidate}"
    abort(unit, spec, running, actor=actor, reason=why, at=at, superseded_by=candidate)
    split.take(unit, spec, KIND, rollout_id)
