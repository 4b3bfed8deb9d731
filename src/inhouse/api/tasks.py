"""``/v1/tasks`` and ``/v1/models``: what may be asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import Caller, PathTask, Reader, Wired
from inhouse.client.control import Model, ModelList, Task, TaskDetail
from inhouse.client.traffic import TaskTraffic
from inhouse.core.states import VersionStatus
from inhouse.monitoring import traffic
from inhouse.registry.versions import list_versions

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
