"""``/v1/rollouts``: traffic that moves to a candidate by evidence, and what people do about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query

from inhouse.api.depends import Limit, OfTask, Operator, PathId, Reader, Wired
from inhouse.bootstrap import App
from inhouse.client.rollouts import (
    Rollout,
    RolloutChange,
    RolloutDetail,
    RolloutReading,
    RolloutStart,
)
from inhouse.db.unit import WriteUnit
from inhouse.gateway.access import Principal
from inhouse.rollout import records, steer
from inhouse.rollout.declared import adjusted, plan_of
from inhouse.rollout.history import MOST, readings
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.tell import plain, plain_view

router = APIRouter(tags=["rollouts"])


@router.get("/v1/rollouts")
def list_rollouts(
    app: Wired, _: Reader, *, task: OfTask = None, limit: Limit = 50
) -> list[Rollout]:
    """Rollouts of one task or of all, newest first."""
    with app.database.read() as unit:
        found = records.list_rollouts(unit, task, limit)
    return [Rollout.model_validate(plain(rollout)) for rollout in found]


@router.post("/v1/rollouts", status_code=201)
def start_rollout(request: RolloutStart, app: Wired, who: Operator) -> RolloutDetail:
    """Begin to move a task to a candidate."""
    spec = app.catalog.get(request.task)
    changes = {} if request.plan is None else request.plan.model_dump(exclude_none=True)
    if request.shadow is not None:
        changes["shadow_inputs"] = request.shadow
    plan = plan_of(adjusted(app.settings.tasks[spec.name].rollout, changes))
    app.backends.check(request.candidate, plan.judge)
    with app.database.write() as unit:
        rollout = steer.start(
            unit,
            spec,
            candidate=request.candidate,
            plan=plan,
            actor=who.actor,
            reason=request.reason,
            at=app.clock.now(),
            replace=request.replace,
        )
    app.routes.refresh([spec.name])
    return _detail(app, rollout.id)


@router.get("/v1/rollouts/{rollout_id}")
def show_rollout(rollout_id: PathId, app: Wired, _: Reader) -> RolloutDetail:
    """One rollout with its decisions, its newest evidence, and what it waits for."""
    return _detail(app, rollout_id)


@router.get("/v1/rollouts/{rollout_id}/readings")
def list_readings(
    rollout_id: PathId,
    app: Wired,
    _: Reader,
    *,
    limit: Annotated[int, Query(ge=2, le=1000, description="At most so many.")] = MOST,
) -> list[RolloutReading]:
    """The evidence of a rollout over time, oldest first, thinned to moments at even distances."""
    with app.database.read() as unit:
        records.get(unit, rollout_id)
        found = readings(unit, rollout_id, limit)
    return [RolloutReading.model_validate(moment) for moment in found]


@router.post("/v1/rollouts/{rollout_id}/pause")
def pause_rollout(
    rollout_id: PathId, request: RolloutChange, app: Wired, who: Operator
) -> RolloutDetail:
    """Stay at the weight that is in force. Harm still rolls back."""
    return _change(rollout_id, request, app, who, steer.pause)


@router.post("/v1/rollouts/{rollout_id}/resume")
def resume_rollout(
    rollout_id: PathId, request: RolloutChange, app: Wired, who: Operator
) -> RolloutDetail:
    """Go on where a person or evidence stopped it."""
    return _change(rollout_id, request, app, who, steer.resume)


@router.post("/v1/rollouts/{rollout_id}/rollback")
def roll_back_rollout(
    rollout_id: PathId, request: RolloutChange, app: Wired, who: Operator
) -> RolloutDetail:
    """Send everything to the incumbent, at once; the candidate's version is rejected."""

    def roll_back(unit: WriteUnit, rollout: RolloutRecord, **said: Any) -> None:
        steer.rollback(unit, app.catalog.get(rollout.task), rollout, **said)

    return _change(rollout_id, request, app, who, roll_back)


def _change(
    rollout_id: str, request: RolloutChange, app: App, who: Principal, verb: Callable[..., Any]
) -> RolloutDetail:
    """``verb`` takes the unit, the rollout, ``actor``, ``reason`` and ``at``."""
    with app.database.write() as unit:
        rollout = records.get(unit, rollout_id, lock=True)
        verb(unit, rollout, actor=who.actor, reason=request.reason, at=app.clock.now())
    app.routes.refresh([rollout.task])
    return _detail(app, rollout_id)


def _detail(app: App, rollout_id: str) -> RolloutDetail:
    with app.database.read() as unit:
        return RolloutDetail.model_validate(plain_view(unit, rollout_id, app.clock.now()))
