"""``/v1/tasks`` and ``/v1/models``: what may be asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import Caller, PathTask, Reader, Wired
from inhouse.client.control import Model, ModelList, Task, TaskDetail
from inhouse.client.figures import TaskFigures
from inhouse.client.readiness import Readiness
from inhouse.client.traffic import TaskTraffic
from inhouse.core.states import VersionStatus
from inhouse.monitoring import figures, readiness, traffic
from inhouse.monitoring.overview import Period, hours_of
from inhouse.registry.versions import list_versions
from inhouse.rollout.declared import plan_of

router = APIRouter(tags=["tasks"])
_CALLABLE = (VersionStatus.CANDIDATE, VersionStatus.ACTIVE, VersionStatus.DEPRECATED)


@router.get("/v1/tasks")
def list_tasks(app: Wired, _: Caller) -> list[Task]:
    """Every declared task."""
    return [Task.model_validate(spec) for spec in app.catalog.all()]


@router.get("/v1/tasks/{task}")
def show_task(task: PathTask, app: Wired, _: Caller) -> TaskDetail:
    """One task with its prompt."""
    return TaskDetail.model_validate(app.catalog.get(task))


@router.get("/v1/tasks/{task}/traffic")
def show_traffic(
    task: PathTask,
    app: Wired,
    _: Reader,
    *,
    days: Annotated[int, Query(ge=1, le=366, description="So far back.")] = 7,
) -> TaskTraffic:
    """Calls, latencies and cost of one task, in all and by who answered."""
    name, until = app.catalog.get(task).name, app.clock.now()
    since = until - timedelta(days=days)
    with app.database.read() as unit:
        found = traffic.of_tasks(unit, since, until, name)
    return TaskTraffic.model_validate(found.get(name) or traffic.nothing(name, since, until))


@router.get("/v1/tasks/{task}/figures")
def show_figures(
    task: PathTask,
    app: Wired,
    _: Reader,
    *,
    window: Annotated[Period, Query(description="How far back, in whole hours.")] = Period.WEEK,
) -> TaskFigures:
    """What each model of one task came to: calls, success, scores, latency, cost, share."""
    spec = app.catalog.get(task)
    with app.database.read() as unit:
        found = figures.figures(unit, spec, hours_of(window, app.clock.now()))
    return TaskFigures.model_validate(found)


@router.get("/v1/tasks/{task}/readiness")
def show_readiness(task: PathTask, app: Wired, _: Reader) -> Readiness:
    """Whether an own model can take the task over, line by line, and what to do next."""
    spec = app.catalog.get(task)
    plan = plan_of(app.settings.tasks[spec.name].rollout)
    with app.database.read() as unit:
        found = readiness.readiness(
            unit, spec, plan, clock=app.clock, breakers=app.breakers.states()
        )
    return Readiness.model_validate(found)


@router.get("/v1/models")
def list_models(app: Wired, _: Caller) -> ModelList:
    """What `model` may name in a chat: tasks, their general models, and own versions."""
    specs = app.catalog.all()
    with app.database.read() as unit:
        versions = [v for v in list_versions(unit) if v.status in _CALLABLE]
    tasks = [Model(id=f"task:{spec.name}", created=0, owned_by="inhouse") for spec in specs]
    own = [
        Model(id=v.reference, created=int(v.created_at.timestamp()), owned_by="inhouse")
        for v in versions
    ]
    chains = dict.fromkeys(reference for spec in specs for reference in spec.chain)
    general = [Model(id=name, created=0, owned_by=name.partition("/")[0]) for name in chains]
    return ModelList(data=[*tasks, *own, *general])
