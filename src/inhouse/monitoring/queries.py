"""Counts and figures over recorded calls. Forced and imported calls and free chats are in none of
them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, or_, select

from inhouse.db.base import in_utc
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.counts import Sums, sums
from inhouse.interactions.filters import Span
from inhouse.interactions.hours import hour_ceiling, hour_floor
from inhouse.interactions.tables import Interaction

_table = table_of(Interaction)
_HOSTS: Final = ("own", "local", "external", "unanswered")


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
    """Calls of every task with a call in the window, by task.

    Whole hours are read from the counts, which erasing leaves as they are; only what the window has
    of an hour at its ends is counted call by call.
    """
    whole, ends = _split(window)
    found: dict[str, dict[str, int]] = {}
    rows = [
        (row.task, row.status, row.hosting, row.calls)
        for span in whole
        for row in _sums(unit, span)
    ]
    rows += [row for span in ends for row in _one_by_one(unit, span)]
    for task, status, hosting, calls in rows:
        host = hosting if status == "answered" and hosting else "unanswered"
        hosts = found.setdefault(task, {})
        hosts[host] = hosts.get(host, 0) + calls
    return [
        CallCount(task=task, **{name: calls.get(name, 0) for name in _HOSTS})
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
            *Span(since=window.since, until=window.until).where(_table),
            *_counted(),
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


def _split(window: Window) -> tuple[list[Span], list[Span]]:
    """The whole hours of a window, if any, and what is left of it."""
    since, until = in_utc(window.since), in_utc(window.until)
    first, last = hour_ceiling(since), hour_floor(until)
    if first >= last:
        return [], [Span(since=since, until=until)]
    ends = [Span(since=since, until=first), Span(since=last, until=until)]
    return [Span(since=first, until=last)], [span for span in ends if span.since != span.until]


def _sums(unit: ReadUnit, span: Span) -> list[Sums]:
    found = sums(unit, span, by=("task", "status", "hosting"), without_arms=NOT_COUNTED)
    return [row for row in found if row.task]


def _one_by_one(unit: ReadUnit, span: Span) -> list[tuple[str, str, str, int]]:
    keys = (_table.c.task, _table.c.status, _table.c.hosting)
    statement = (
        select(*keys, func.count().label("calls"))
        .where(*span.where(_table), *_counted())
        .group_by(*keys)
    )
    return [(row.task, row.status, row.hosting or "", row.calls) for row in unit.execute(statement)]


def _counted() -> list[ColumnElement[bool]]:
    return [
        _table.c.task.is_not(None),
        or_(_table.c.arm.is_(None), _table.c.arm.not_in(NOT_COUNTED)),
    ]
