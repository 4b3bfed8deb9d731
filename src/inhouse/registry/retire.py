"""Putting versions away, and what stands against it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from inhouse.core.errors import Conflict
from inhouse.core.states import VersionStatus
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.registry import routes, versions
from inhouse.registry.versions import Version
from inhouse.tasks.spec import TaskSpec


def users(unit: ReadUnit, specs: Iterable[TaskSpec], reference: str) -> list[str]:
    """What a reference does on the routes in force, one line each: ``sentiment (pin)``. A candidate
    without a share does nothing."""
    moved = {route.task: route for route in routes.all_current(unit)}
    for spec in specs:
        route = moved.get(spec.name) or routes.implicit(spec.name, spec.chain)
        moved[spec.name] = routes.with_chain(route, spec.chain)
    return [
        f"{task} ({', '.join(roles)})"
        for task, route in sorted(moved.items())
        if (roles := _roles(route, reference))
    ]


def _roles(route: routes.Route, reference: str) -> list[str]:
    plays = {
        "pin": route.pin == reference,
        "candidate": route.candidate == reference and route.weight_bp > 0,
        "incumbent": route.incumbent == reference,
        "chain": reference in route.chain,
    }
    return [role for role, does in plays.items() if does]


def archive(
    unit: WriteUnit,
    specs: Iterable[TaskSpec],
    task: str,
    number: int,
    *,
    by: str,
    why: str,
    at: datetime,
) -> Version:
    """Put a version away for good; its files may then be pruned.

    Raises NotFound, and Conflict (``version-serves``) naming the routes on which it stands. A
    promotion at the same moment waits for this, or this for it.
    """
    version = versions.get(unit, task, number, lock=True)
    if standing := users(unit, specs, version.reference):
        raise Conflict(
            f"{version.reference} serves: {'; '.join(standing)}",
            code="version-serves",
            hint=f"send the traffic elsewhere first: `inhouse routes rollback {task}`",
        )
    if version.status is VersionStatus.ACTIVE:
        versions.set_status(unit, version.id, VersionStatus.DEPRECATED, by=by, why=why, at=at)
    return versions.set_status(unit, version.id, VersionStatus.ARCHIVED, by=by, why=why, at=at)


def restore(unit: WriteUnit, task: str, number: int, *, by: str, why: str, at: datetime) -> Version:
    """Make a rejected version a candidate again. Raises NotFound, Conflict for another status."""
    version = versions.get(unit, task, number, lock=True)
    return versions.set_status(unit, version.id, VersionStatus.CANDIDATE, by=by, why=why, at=at)
