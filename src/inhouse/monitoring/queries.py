"""Counts and figures over recorded calls. Forced calls and free chats are in none of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.interactions.tables import Interaction

_table = table_of(Interaction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time: ``since`` inclusive, ``until`` exclusive."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class CallCount:
    """Calls of one task by who answered: own models, general models on our machines, external
    APIs. ``unanswered``: failed calls and those that got the task's ``on_failure`` value."""

    task: str
    own: int
    local: int
    external: int
    unanswered: int

    @property
    def answered(self) -> int:
        return self.own + self.local + self.external


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFigures:
    """Calls of one task that one reference answered. ``cost`` is their sum in the currency of the
    configured prices; latencies are milliseconds by nearest rank."""

    task: str
    reference: str
    hosting: str
    calls: int
    cost: float
    p50_ms: float
    p95_ms: float

    @property
    def cost_per_call(self) -> float:
        return self.cost / self.calls


def count_calls(unit: ReadUnit, window: Window) -> list[CallCount]:
    """Calls of every task with a call in the window, by task."""
    answered = and_(_table.c.status == "answered", _table.c.hosting.is_not(None))
    host = case((answered, _table.c.hosting), else_="unanswered").label("host")
    statement = (
        select(_table.c.task, host, func.count().label("calls"))
        .where(*_counted(window))
        .group_by(_table.c.task, host)
    )
    found: dict[str, dict[str, int]] = {}
    for row in unit.execute(statement):
        found.setdefault(row.task, {})[row.host] = row.calls
    hosts = ("own", "local", "external", "unanswered")
    return [
        CallCount(task=task, **{name: calls.get(name, 0) for name in hosts})
        for task, calls in sorted(found.items())
    ]


def call_figures(unit: ReadUnit, window: Window) -> list[CallFigures]:
    """Cost and latency of answered calls in the window, by task and reference."""
    key = (_table.c.task, _table.c.reference)
    ranked = (
        select(
            *key,
            _table.c.hosting,
            _table.c.cost,
            _table.c.latency_ms,
            func.row_number().over(partition_by=key, order_by=_table.c.latency_ms).label("rank"),
            func.count().over(partition_by=key).label("size"),
        )
        .where(
            *_counted(window),
            _table.c.status == "answered",
            _table.c.hosting.is_not(None),
            _table.c.reference.is_not(None),
        )
        .subquery()
    )

    def nearest(percent: int) -> ColumnElement[Any]:
        rank = (ranked.c.size * percent + 99) // 100
        return func.max(case((ranked.c.rank == rank, ranked.c.latency_ms)))

    statement = (
        select(
            ranked.c.task,
            ranked.c.reference,
            func.max(ranked.c.hosting).label("hosting"),
            func.count().label("calls"),
            func.sum(ranked.c.cost).label("cost"),
            nearest(50).label("p50_ms"),
            nearest(95).label("p95_ms"),
        )
        .group_by(ranked.c.task, ranked.c.reference)
        .order_by(ranked.c.task, ranked.c.reference)
    )
    return [CallFigures(**row._mapping) for row in unit.execute(statement)]


def _counted(window: Window) -> list[ColumnElement[bool]]:
    return [
        _table.c.task.is_not(None),
        _table.c.created_at >= window.since,
        _table.c.created_at < window.until,
        or_(_table.c.arm.is_(None), _table.c.arm != "forced"),
    ]
