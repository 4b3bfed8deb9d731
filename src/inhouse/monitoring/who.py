"""Which version answers a task for a unit at a moment, and why; and which one did."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, asc, desc, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.gateway.route import Arm, assign, draw
from inhouse.interactions.outcomes import SHADOW
from inhouse.interactions.pseudonym import pseudonym, salt_of
from inhouse.interactions.tables import Interaction
from inhouse.registry.history import in_force
from inhouse.registry.routes import Route, implicit
from inhouse.tasks.spec import TaskSpec

LOOKED_THROUGH: Final = 10_000
"""Calls of the task that are looked through on either side of the moment."""
SHOWN: Final = 5
_FULL: Final = 1 << 64
_table = table_of(Interaction)
_COLUMNS: Final = (
    _table.c.id,
    _table.c.created_at,
    _table.c.status,
    _table.c.reference,
    _table.c.arm,
    _table.c.route_revision,
    _table.c.weight_bp,
    _table.c.rescued,
    _table.c.unit,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Did:
    """A recorded call of the unit. ``rescued``: a fallback answered for the arm's own model."""

    id: str
    created_at: datetime
    status: str
    reference: str | None
    arm: str | None
    route_revision: int | None
    weight_bp: int | None
    rescued: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """Who would answer, and who did.

    ``route`` is the revision in force at ``at`` (revision 0: the chain that the task declares now).
    ``unit`` is the unit's pseudonym. ``u``, in [0, 1), is its place on the scale on which the
    candidate has everything below ``weight``. ``arm`` and ``reference`` follow from these alone;
    ``chain`` is what would be tried, in order. ``forced`` is what the settings force the task to
    now, None for nothing: such calls follow no route. ``recorded`` are the unit's calls nearest to
    ``at``, oldest first, found among the ``looked_through`` calls before and after it.
    """

    task: str
    at: datetime
    unit: str
    route: Route
    u: float
    weight: float
    arm: Arm
    reference: str
    chain: Sequence[str]
    forced: str | None
    recorded: Sequence[Did]
    looked_through: int


def who(
    unit: ReadUnit, spec: TaskSpec, name: str, at: datetime, *, forced: Mapping[str, str]
) -> Who:
    """Tell who answers a task for the unit ``name`` at a moment. For a call that named no unit,
    ``name`` is the call's id."""
    route = in_force(unit, spec.name, at) or implicit(spec.name, spec.chain)
    hidden = pseudonym(salt_of(unit), name)
    chosen = assign(route, hidden)
    return Who(
        task=spec.name,
        at=at,
        unit=hidden,
        route=route,
        u=draw(route.salt, hidden) / _FULL,
        weight=route.weight_bp / 10_000,
        arm=chosen.arm,
        reference=chosen.reference,
        chain=chosen.chain,
        forced=forced.get(spec.name),
        recorded=_recorded(unit, spec.name, hidden, at),
        looked_through=LOOKED_THROUGH,
    )


def _recorded(unit: ReadUnit, task: str, hidden: str, at: datetime) -> list[Did]:
    before = _near(unit, task, hidden, _table.c.created_at <= at, desc)
    after = _near(unit, task, hidden, _table.c.created_at > at, asc)
    return [*reversed(before), *after]


def _near(
    unit: ReadUnit,
    task: str,
    hidden: str,
    side: ColumnElement[bool],
    order: Callable[[Any], ColumnElement[Any]],
) -> list[Did]:
    """The unit's calls among the nearest ones of the task on one side of a moment."""
    nearest = (
        select(*_COLUMNS)
        .where(_table.c.task == task, _table.c.arm != SHADOW, side)
        .order_by(order(_table.c.created_at))
        .limit(LOOKED_THROUGH)
        .subquery()
    )
    mine = select(nearest).where(nearest.c.unit == hidden)
    statement = mine.order_by(order(nearest.c.created_at)).limit(SHOWN)
    rows = unit.execute(statement).all()
    return [Did(**{name: getattr(row, name) for name in Did.__slots__}) for row in rows]
