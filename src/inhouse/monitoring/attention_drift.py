"""Drift that needs attention, as the newest looks found it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, func, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.monitoring.concern import Code, Concern, Level
from inhouse.monitoring.tables import Drift
from inhouse.registry.routes import Route
from inhouse.rollout.plan import FULL_BP

_drift = table_of(Drift)


def drifts(unit: ReadUnit, in_force: Mapping[str, Route]) -> list[Concern]:
    """Tasks of which a model that gets calls is, at the newest look, far from what it was before.
    ``in_force``: the routes by task."""
    newest = (
        select(_drift.c.task, func.max(_drift.c.created_at).label("at"))
        .group_by(_drift.c.task)
        .subquery()
    )
    statement = (
        select(_drift)
        .join(newest, (newest.c.task == _drift.c.task) & (newest.c.at == _drift.c.created_at))
        .where(_drift.c.drifted.is_(True))
        .order_by(_drift.c.task, _drift.c.id)
    )
    found = [row for row in unit.execute(statement) if _gets_calls(row, in_force.get(row.task))]
    return [
        Concern(
            code=Code.DRIFT,
            level=Level.WARN,
            title=f"Calls of {row.task} have drifted",
            text=f"Of {row.calls:,} calls, {_distances(row)}. {_drift_helps(row)}",
            about=row.task,
            since=row.created_at,
        )
        for row in {row.task: row for row in found}.values()
    ]


def _gets_calls(row: Row[Any], route: Route | None) -> bool:
    """Whether the route leads to the model now; a task without a route is not declared any more."""
    if route is None:
        return False
    if route.pin:
        return bool(row.reference == route.pin)
    to_candidate = row.reference == route.candidate and route.weight_bp > 0
    return bool(to_candidate or (row.reference == route.incumbent and route.weight_bp < FULL_BP))


def _drift_helps(row: Row[Any]) -> str:
    if "@" in row.reference:
        return "Corrections and a new training run help."
    return "Corrections show whether its answers are still right."


def _distances(row: Row[Any]) -> str:
    both = {"inputs": row.inputs, "outputs": row.outputs}
    return " and ".join(
        f"{name} are {distance:.3g} away from {row.detail[name]['against']}"
        for name, distance in both.items()
        if distance is not None
    )
