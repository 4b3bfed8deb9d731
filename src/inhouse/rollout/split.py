"""Who may move the split of a task: one unfinished rollout or experiment at a time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, delete, select

from inhouse.core.errors import Conflict
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import WriteUnit
from inhouse.registry import move, routes
from inhouse.registry.routes import FULL, Route
from inhouse.rollout.tables import SplitOwner
from inhouse.tasks.spec import TaskSpec

A: Final[Mapping[str, str]] = {"rollout": "a rollout", "experiment": "an experiment"}
"""Owners by their kind, for messages."""
_owners = table_of(SplitOwner)


def take(unit: WriteUnit, spec: TaskSpec, kind: str, owner_id: str) -> Row[Any]:
    """Who owns the task's split (a row of ``SplitOwner``): the caller, where nobody did.

    Raises Conflict (``rollout-running``) when the owner ended at this very moment.
    """
    mine = {"task": spec.name, "kind": kind, "owner_id": owner_id}
    unit.execute(insert_ignore(unit, SplitOwner).values(**mine))
    found = unit.execute(select(_owners).where(_owners.c.task == spec.name)).one_or_none()
    if found is None:
        raise Conflict(
            f"a rollout or experiment of {spec.name} just ended; repeat", code="rollout-running"
        )
    return found


def release(unit: WriteUnit, owner_id: str) -> None:
    """Let others have the split that an owner had."""
    unit.execute(delete(_owners).where(_owners.c.owner_id == owner_id))


def settle(unit: WriteUnit, spec: TaskSpec, *, actor: str, reason: str, at: datetime) -> Route:
    """The route, with all traffic at its incumbent; a candidate that has all of it becomes that.

    Raises Conflict when somebody holds the route otherwise (``route-pinned``, ``route-split``).
    """
    route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
    if route.pin is not None:
        raise Conflict(
            f"the route of {spec.name} is pinned to {route.pin}",
            code="route-pinned",
            hint="`inhouse routes pin` without --to lifts it",
        )
    if route.weight_bp == FULL and route.candidate is not None:
        return move.promote(
            unit,
            spec,
            candidate=route.candidate,
            actor=actor,
            reason=reason,
            at=at,
            expect=route.revision,
        )
    if route.weight_bp:
        raise Conflict(
            f"the route of {spec.name} gives {route.weight_bp / 100:g} % to {route.candidate}",
            code="route-split",
            hint="`inhouse routes rollback` or `routes set --weight 100` first",
        )
    return route
