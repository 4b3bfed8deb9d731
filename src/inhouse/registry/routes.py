"""Routes: per task who answers, in numbered revisions that are only ever appended."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Row, Select, func, insert, select
from sqlalchemy.exc import IntegrityError

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.ids import new_id
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.registry.tables import RouteRevision

_table = table_of(RouteRevision)


def _newest_of_each(*when: ColumnElement[bool]) -> Select[Any]:
    newest = (
        select(_table.c.task, func.max(_table.c.revision).label("revision"))
        .where(*when)
        .group_by(_table.c.task)
        .subquery()
    )
    return select(_table).join(
        newest, (_table.c.task == newest.c.task) & (_table.c.revision == newest.c.revision)
    )


_ALL_CURRENT = _newest_of_each()
"""Made once: every process asks it four times a second."""
FULL = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One revision of a task's route.

    ``weight_bp`` of 10,000 units go to ``candidate``, the rest to ``incumbent``; ``chain`` are the
    fallbacks in order; ``pin`` sends every call to one reference. Revision 0 is the implicit route
    of a task that was never moved.
    """

    task: str
    revision: int
    incumbent: str
    candidate: str | None
    weight_bp: int
    salt: str
    chain: tuple[str, ...]
    pin: str | None
    actor: str
    reason: str
    created_at: datetime | None


def implicit(task: str, chain: Sequence[str]) -> Route:
    """Revision 0: the first general model of the task's chain answers everything."""
    return Route(
        task=task,
        revision=0,
        incumbent=chain[0] if chain else "",
        candidate=None,
        weight_bp=0,
        salt=task,
        chain=tuple(chain),
        pin=None,
        actor="inhouse.toml",
        reason="declared chain",
        created_at=None,
    )


def with_chain(route: Route, chain: Sequence[str]) -> Route:
    """A route with the models that its task declares now behind whom the revision names: a general
    model that is declared no more gets no calls as a fallback, and one that is new does. Own
    versions that stood there, because of a comparison, stay."""
    others = (one for one in route.chain if one not in chain)
    own = (one for one in others if parse_reference(one).kind is ReferenceKind.VERSION)
    return replace(route, chain=(*own, *chain))


def current(unit: ReadUnit, task: str) -> Route | None:
    """The highest revision of a task's route; None for a task that was never moved."""
    statement = (
        select(_table).where(_table.c.task == task).order_by(_table.c.revision.desc()).limit(1)
    )
    row = unit.execute(statement).one_or_none()
    return None if row is None else _route(row)


def all_current(unit: ReadUnit, at: datetime | None = None) -> list[Route]:
    """The highest revision of every task that has one; or that had one at some moment."""
    found = _ALL_CURRENT if at is None else _newest_of_each(_table.c.created_at <= at)
    return [_route(row) for row in unit.execute(found)]


def history(unit: ReadUnit, task: str, limit: int = 50) -> list[Route]:
    """Revisions of a task's route, newest first."""
    statement = (
        select(_table).where(_table.c.task == task).order_by(_table.c.revision.desc()).limit(limit)
    )
    return [_route(row) for row in unit.execute(statement)]


def append(unit: WriteUnit, route: Route, *, expect: int, at: datetime) -> Route:
    """Store the next revision by compare-and-set on the one before.

    ``route.revision`` and ``created_at`` are ignored; ``expect`` is the revision that the caller
    saw. Raises Conflict (code ``route-changed``) when somebody else moved the route meanwhile.
    """
    if not 0 <= route.weight_bp <= FULL:
        raise Invalid("a weight lies between 0 and 100 %", code="weight")
    if route.candidate is None and route.weight_bp:
        raise Invalid("there is no candidate to give traffic to", code="weight")
    seen = current(unit, route.task)
    if (seen.revision if seen else 0) != expect:
        raise _changed(route.task)
    row = {
        **{name: getattr(route, name) for name in Route.__slots__},
        "revision": expect + 1,
        "chain": list(route.chain),
        "created_at": at,
    }
    try:
        unit.execute(insert(_table).values(**row))
    except IntegrityError:
        raise _changed(route.task) from None
    stored = current(unit, route.task)
    if stored is None:
        raise _changed(route.task)
    return stored


def fresh_salt() -> str:
    """A new salt: who meets a new candidate is drawn anew."""
    return new_id()


def _changed(task: str) -> Conflict:
    return Conflict(
        f"the route of {task} was changed meanwhile",
        code="route-changed",
        hint="look at `inhouse routes history` and repeat",
    )


def _route(row: Row[Any]) -> Route:
    fields = dict(row._mapping)
    return Route(**{**fields, "chain": tuple(fields["chain"])})
