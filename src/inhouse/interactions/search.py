"""Reading what was recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, case, func, select

from inhouse.core.errors import Invalid, NotFound
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.tables import Interaction

MOST: Final = 1000
_table = table_of(Interaction)


@dataclass(frozen=True, slots=True, kw_only=True)
class HostingCount:
    """Answered calls of one task by one kind of host (own, local, external).

    ``cost`` is their sum in the currency of the configured prices. ``p50_ms`` and ``p95_ms`` are
    latencies by nearest rank.
    """

    task: str
    hosting: str
    calls: int
    cost: float
    p50_ms: float
    p95_ms: float


def get(unit: ReadUnit, interaction_id: str) -> InteractionRecord:
    """One interaction. Raises NotFound (code ``interaction-not-found``)."""
    row = unit.execute(select(_table).where(_table.c.id == interaction_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no interaction {interaction_id!r}",
            code="interaction-not-found",
            hint="calls are recorded within 50 ms of their answer",
        )
    return _record_of(row)


def search(
    unit: ReadUnit,
    *,
    task: str | None = None,
    status: str | None = None,
    arm: str | None = None,
    reference: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 50,
    before_id: str | None = None,
) -> list[InteractionRecord]:
    """Interactions that match every filter given, newest first.

    ``since`` is inclusive, ``until`` exclusive. The next page starts before the last id of this one
    (``before_id``). Raises Invalid when ``limit`` is not in 1..1000.
    """
    if not 1 <= limit <= MOST:
        raise Invalid(f"limit is {limit}", code="limit", hint=f"ask for 1 to {MOST}")
    equal = {"task": task, "status": status, "arm": arm, "reference": reference}
    filters = [_table.c[name] == value for name, value in equal.items() if value is not None]
    filters += _between(since, until)
    if before_id is not None:
        filters.append(_table.c.id < before_id)
    statement = select(_table).where(*filters).order_by(_table.c.id.desc()).limit(limit)
    return [_record_of(row) for row in unit.execute(statement)]


def counts_by_hosting(
    unit: ReadUnit, *, since: datetime, until: datetime, forced: bool = False
) -> list[HostingCount]:
    """Answered calls of tasks in ``[since, until)`` by task and hosting, in that order.

    Free chats have no task and are left out; forced calls too unless ``forced``.
    """
    key = (_table.c.task, _table.c.hosting)
    filters = [
        *_between(since, until),
        _table.c.status == "answered",
        _table.c.task.is_not(None),
        _table.c.hosting.is_not(None),
    ]
    if not forced:
        filters.append(_table.c.arm != "forced")
    ranked = (
        select(
            *key,
            _table.c.cost,
            _table.c.latency_ms,
            func.row_number().over(partition_by=key, order_by=_table.c.latency_ms).label("rank"),
            func.count().over(partition_by=key).label("size"),
        )
        .where(*filters)
        .subquery()
    )

    def quantile(percent: int) -> ColumnElement[Any]:
        nearest = (ranked.c.size * percent + 99) // 100
        return func.max(case((ranked.c.rank == nearest, ranked.c.latency_ms)))

    statement = (
        select(
            ranked.c.task,
            ranked.c.hosting,
            func.count().label("calls"),
            func.sum(ranked.c.cost).label("cost"),
            quantile(50).label("p50_ms"),
            quantile(95).label("p95_ms"),
        )
        .group_by(ranked.c.task, ranked.c.hosting)
        .order_by(ranked.c.task, ranked.c.hosting)
    )
    return [HostingCount(**row._mapping) for row in unit.execute(statement)]


def _between(since: datetime | None, until: datetime | None) -> Sequence[ColumnElement[bool]]:
    bounds: list[ColumnElement[bool]] = []
    if since is not None:
        bounds.append(_table.c.created_at >= since)
    if until is not None:
        bounds.append(_table.c.created_at < until)
    return bounds


def _record_of(row: Row[Any]) -> InteractionRecord:
    return InteractionRecord(**row._mapping)
