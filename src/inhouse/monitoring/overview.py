"""The whole loop at one glance: who answers, how well, how far each task has come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from inhouse.db.unit import ReadUnit
from inhouse.interactions.activity import NOT_COUNTED, quantile
from inhouse.interactions.counts import Sums, sums
from inhouse.interactions.filters import Span
from inhouse.interactions.hours import HOUR, hour_floor
from inhouse.monitoring.attention import Concern, Server, concerns
from inhouse.monitoring.journeys import Journey, journeys
from inhouse.monitoring.queries import CallCount, Window
from inhouse.monitoring.report import IndependenceReport, independence_in
from inhouse.monitoring.savings import Savings, savings
from inhouse.registry import routes
from inhouse.registry.routes import Route
from inhouse.settings import UpstreamSettings
from inhouse.tasks.spec import TaskSpec

_BY_DAY_FROM: Final = timedelta(days=3)


class Period(StrEnum):
    """How far back somebody looks."""

    DAY = "24h"
    WEEK = "7d"
    MONTH = "30d"

    @property
    def length(self) -> timedelta:
        return _LENGTHS[self]


_LENGTHS: Final = {
    Period.DAY: timedelta(days=1),
    Period.WEEK: timedelta(days=7),
    Period.MONTH: timedelta(days=30),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """Calls of tasks in an hour or a day (``start``, UTC), by who answered."""

    start: datetime
    own: int
    local: int
    external: int
    unanswered: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSummary:
    """A task that is declared, or that was called in the window.

    ``unanswered``: calls without a model's answer; ``p50_ms`` and ``p95_ms`` (of answered calls,
    within 12 %) and ``own_share`` (in [0, 1]) are None without an answered call. ``weight_bp`` of
    10,000 units go to ``candidate``, the others to ``incumbent``, all of them to ``pin``.
    """

    task: str
    declared: bool
    own: int
    local: int
    external: int
    unanswered: int
    p50_ms: float | None
    p95_ms: float | None
    cost: float
    incumbent: str
    candidate: str | None
    weight_bp: int
    pin: str | None
    own_version: str | None
    journey: Journey

    @property
    def answered(self) -> int:
        return self.own + self.local + self.external

    @property
    def calls(self) -> int:
        return self.answered + self.unanswered

    @property
    def success(self) -> float | None:
        """Share of the calls that a model answered."""
        return self.answered / self.calls if self.calls else None

    @property
    def own_share(self) -> float | None:
        return self.own / self.answered if self.answered else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything in the whole hours ``[since, until)``; forced and imported calls are in none of
    it. ``chats``: calls without a task, which only this figure counts. ``slots`` are hours for a
    window of a day, days for longer ones."""

    period: Period
    since: datetime
    until: datetime
    chats: int
    own_p95_ms: float | None
    general_p95_ms: float | None
    cost: float
    slots: tuple[Slot, ...]
    tasks: tuple[TaskSummary, ...]
    independence: IndependenceReport
    attention: tuple[Concern, ...]
    savings: Savings

    @property
    def own(self) -> int:
        return sum(task.own for task in self.tasks)

    @property
    def answered(self) -> int:
        return sum(task.answered for task in self.tasks)

    @property
    def calls(self) -> int:
        return sum(task.calls for task in self.tasks)


def hours_of(period: Period, now: datetime) -> Window:
    """The whole hours that a period up to now touches: the present one to its end."""
    return Window(since=hour_floor(now - period.length), until=hour_floor(now) + HOUR)


def overview(
    unit: ReadUnit,
    specs: Sequence[TaskSpec],
    server: Server,
    *,
    now: datetime,
    period: Period,
    upstreams: Mapping[str, UpstreamSettings] | None = None,
) -> Overview:
    """The overview of the last hours or days, with the tasks by calls, most first. ``upstreams``
    are the declared ones, with their prices."""
    window = hours_of(period, now)
    span = Span(since=window.since, until=window.until)
    by_day = period.length >= _BY_DAY_FROM
    told = ("task", "hosting", "status", "bucket")
    found = sums(unit, span, by=told, without_arms=NOT_COUNTED)
    over_time = sums(
        unit,
        span,
        by=("day" if by_day else "hour", "task", "hosting", "status"),
        without_arms=NOT_COUNTED,
    )
    of_tasks = [row for row in found if row.task]
    report = independence_in(unit, window, _counts(of_tasks))
    tasks = _tasks(unit, specs, of_tasks, report, window)
    return Overview(
        period=period,
        since=window.since,
        until=window.until,
        chats=sum(row.calls for row in found if not row.task),
        own_p95_ms=_latency(of_tasks, 0.95, ("own",)),
        general_p95_ms=_latency(of_tasks, 0.95, ("local", "external")),
        cost=sum(row.cost for row in found),
        slots=tuple(_slots(over_time, window, by_day=by_day)),
        tasks=tuple(tasks),
        independence=report,
        attention=tuple(concerns(unit, server, tasks, now=now)),
        savings=savings(unit, window, specs, upstreams or {}, found),
    )


def _tasks(
    unit: ReadUnit,
    specs: Sequence[TaskSpec],
    found: Sequence[Sums],
    report: IndependenceReport,
    window: Window,
) -> list[TaskSummary]:
    declared = {spec.name: spec for spec in specs}
    rows: dict[str, list[Sums]] = {name: [] for name in declared}
    for row in found:
        rows.setdefault(row.task, []).append(row)
    moved = {route.task: route for route in routes.all_current(unit)}
    own = {line.task: line.own_version for line in report.tasks}
    ways = journeys(unit, rows, window)
    summaries = [
        _summary(
            task,
            of_task,
            route=moved.get(task) or _declared_route(declared.get(task), task),
            declared=task in declared,
            own_version=own.get(task),
            journey=ways[task],
        )
        for task, of_task in rows.items()
    ]
    return sorted(summaries, key=lambda one: (-one.calls, one.task))


def _summary(
    task: str,
    rows: Sequence[Sums],
    *,
    route: Route,
    declared: bool,
    own_version: str | None,
    journey: Journey,
) -> TaskSummary:
    hosts = _by_host(rows)
    return TaskSummary(
        task=task,
        declared=declared,
        **hosts,
        p50_ms=_latency(rows, 0.5),
        p95_ms=_latency(rows, 0.95),
        cost=sum(row.cost for row in rows),
        incumbent=route.incumbent,
        candidate=route.candidate,
        weight_bp=route.weight_bp,
        pin=route.pin,
        own_version=own_version,
        journey=journey,
    )


def _declared_route(spec: TaskSpec | None, task: str) -> Route:
    return routes.implicit(task, spec.chain if spec else ())


def _host_of(row: Sums) -> str:
    return row.hosting if row.status == "answered" and row.hosting else "unanswered"


def _by_host(rows: Iterable[Sums]) -> dict[str, int]:
    hosts = {"own": 0, "local": 0, "external": 0, "unanswered": 0}
    for row in rows:
        hosts[_host_of(row)] += row.calls
    return hosts


def _counts(found: Iterable[Sums]) -> list[CallCount]:
    rows: dict[str, list[Sums]] = {}
    for row in found:
        rows.setdefault(row.task, []).append(row)
    return [CallCount(task=task, **_by_host(rows[task])) for task in sorted(rows)]


def _latency(rows: Iterable[Sums], q: float, hosts: Sequence[str] = ()) -> float | None:
    buckets: dict[int, int] = {}
    for row in rows:
        host = _host_of(row)
        if host != "unanswered" and (not hosts or host in hosts):
            buckets[row.bucket] = buckets.get(row.bucket, 0) + row.calls
    return quantile(buckets, q)


def _slots(found: Iterable[Sums], window: Window, *, by_day: bool) -> list[Slot]:
    """Every hour or day of the window, those without a call too."""
    rows: dict[str, list[Sums]] = {}
    for row in found:
        if row.task:
            rows.setdefault(row.slot, []).append(row)
    step = timedelta(days=1) if by_day else HOUR
    at = window.since.replace(hour=0) if by_day else window.since
    slots = []
    while at < window.until:
        name = f"{at:%Y-%m-%d}" if by_day else f"{at:%Y-%m-%dT%H}"
        slots.append(Slot(start=at, **_by_host(rows.get(name, ()))))
        at += step
    return slots
