"""``/v1/lineage``: where answers came from and went; and who answers whom, when."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime

from inhouse.api.depends import PathId, PathTask, Reader, Wired
from inhouse.client.control import Id
from inhouse.client.lineage import InteractionLineage, VersionLineage, Who
from inhouse.monitoring import lineage
from inhouse.monitoring.who import who as tell_who

router = APIRouter(tags=["lineage"])

Number = Annotated[int, Path(ge=1, le=999_999_999)]
Unit = Annotated[
    str,
    Query(
        min_length=1,
        max_length=256,
        description="The unit as calls name it; for a call that named none, the call's id.",
    ),
]


@router.get("/v1/lineage/interactions/{interaction_id}")
def of_interaction(interaction_id: PathId, app: Wired, _: Reader) -> InteractionLineage:
    """Where a call's answer came from, and what learned from the call. The id may also be that of
    feedback."""
    with app.database.read() as unit:
        return InteractionLineage.model_validate(lineage.of_interaction(unit, interaction_id))


@router.get("/v1/lineage/versions/{task}/{number}")
def of_version(
    task: PathTask,
    number: Number,
    app: Wired,
    _: Reader,
    *,
    before: Annotated[Id | None, Query(description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="At most so many calls.")] = 20,
) -> VersionLineage:
    """What a version was made of, with the calls that it learned from, newest first."""
    with app.database.read() as unit:
        found = lineage.of_version(unit, task, number, before=before, limit=limit)
    return VersionLineage.model_validate(found)


@router.get("/v1/routes/{task}/who")
def who(
    task: PathTask,
    app: Wired,
    _: Reader,
    *,
    unit: Unit,
    at: Annotated[AwareDatetime | None, Query(description="Now when left out.")] = None,
) -> Who:
    """Who answers a task for a unit at a moment and why, and which recorded calls it had then."""
    spec, moment = app.catalog.get(task), at or app.clock.now()
    with app.database.read() as read:
        return Who.model_validate(tell_who(read, spec, unit, moment, forced=app.settings.force))
