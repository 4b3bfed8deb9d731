"""Which revision of a route was in force when, and when a version stood on one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.registry.routes import FULL, Route
from inhouse.registry.tables import RouteRevision

_table = table_of(RouteRevision)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stand:
    """One revision of a route that names a version: as what (pinned, incumbent, candidate or
    fallback), the basis points of units that it got, from when until when (None: still), and who
    moved the route and why."""

    task: str
    revision: int
    role: str
    weight_bp: int
    since: datetime
    until: datetime | None
    actor: str
    reason: str


def in_force(unit: ReadUnit, task: str, at: datetime) -> Route | None:
    """The highest revision of a task's route at a moment; None before the first. A gateway follows
    a new revision within 0.25 s of its commit."""
    statement = (
        select(_table)
        .where(_table.c.task == task, _table.c.created_at <= at)
        .order_by(_table.c.revision.desc())
        .limit(1)
    )
    row = unit.execute(statement).one_or_none()
    if row is None:
        return None
    return Route(**{**row._mapping, "chain": tuple(row.chain)})


def stands(unit: ReadUnit, task: str, reference: str, limit: int = 100) -> list[Stand]:
    """The revisions of a task's route that name a reference, newest first."""
    statement = select(_table).where(_table.c.task == task).order_by(_table.c.revision.desc())
    found: list[Stand] = []
    until: datetime | None = None
    for row in unit.execute(statement):
        role = _role(row, reference)
        if role:
            found.append(_stand(row, role, until))
            if len(found) == limit:
                break
        until = row.created_at
    return found


def _role(row: Row[Any], reference: str) -> str:
    if row.pin == reference:
        return "pinned"
    if row.candidate == reference:
        return "candidate"
    if row.incumbent == reference:
        return "incumbent"
    return "fallback" if reference in row.chain else ""


def _stand(row: Row[Any], role: str, until: datetime | None) -> Stand:
    return Stand(
        task=row.task,
        revision=row.revision,
        role=role,
        weight_bp=_share(row, role),
        since=row.created_at,
        until=until,
        actor=row.actor,
        reason=row.reason,
    )


def _share(row: Row[Any], role: str) -> int:
    if role == "pinned":
        return FULL
    if row.pin or role == "fallback":
        return 0
    return int(row.weight_bp if role == "candidate" else FULL - row.weight_bp)
