"""``/v1/versions``: the own models that exist, and putting them away."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from inhouse.api.depends import OfTask, Operator, PathTask, Reader, Wired
from inhouse.client.control import Version
from inhouse.client.store import VersionMove
from inhouse.registry import retire, versions

router = APIRouter(tags=["versions"])

Number = Annotated[int, Path(ge=1, le=999_999_999)]


@router.get("/v1/versions")
def list_versions(app: Wired, _: Reader, *, task: OfTask = None) -> list[Version]:
    """Model versions, newest first."""
    with app.database.read() as unit:
        return [Version.model_validate(version) for version in versions.list_versions(unit, task)]


@router.get("/v1/versions/{task}/{number}")
def show_version(task: PathTask, number: Number, app: Wired, _: Reader) -> Version:
    """One model version."""
    with app.database.read() as unit:
        return Version.model_validate(versions.get(unit, task, number))


@router.post("/v1/versions/{task}/{number}/archive")
def archive_version(
    task: PathTask, number: Number, request: VersionMove, app: Wired, who: Operator
) -> Version:
    """Put a version away for good. One that stands on a route is refused, and the routes named."""
    with app.database.write() as unit:
        version = retire.archive(
            unit,
            app.catalog.all(),
            task,
            number,
            by=who.actor,
            why=request.reason,
            at=app.clock.now(),
        )
    return Version.model_validate(version)


@router.post("/v1/versions/{task}/{number}/restore")
def restore_version(
    task: PathTask, number: Number, request: VersionMove, app: Wired, who: Operator
) -> Version:
    """Make a rejected version a candidate again."""
    with app.database.write() as unit:
        version = retire.restore(
            unit, task, number, by=who.actor, why=request.reason, at=app.clock.now()
        )
    return Version.model_validate(version)
