"""The independence report as a document: figures, their past, steps and savings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from inhouse.db.unit import ReadUnit
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.counts import Sums, sums
from inhouse.interactions.filters import Span
from inhouse.interactions.hours import DAY, day_floor, day_of
from inhouse.monitoring.queries import CallCount, Window
from inhouse.monitoring.report import DAYS, IndependenceReport, independence, independence_in
from inhouse.monitoring.savings import Savings, savings
from inhouse.monitoring.ways import Way, ways
from inhouse.settings import UpstreamSettings
from inhouse.tasks.spec import TaskSpec

POINTS: Final = 30
"""Days of the past that the score is told of."""
_HOSTS: Final = ("own", "local", "external", "unanswered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """The score over the same number of days up to ``at``; None when nothing was answered."""

    at: datetime
    score: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """Everything that the report says. ``past`` ends with the report itself; ``ways`` are steps
    that would raise the score, most points first; ``costs``: by task, of all its calls in the
    window."""

    made_at: datetime
    report: IndependenceReport
    past: tuple[Past, ...]
    ways: tuple[Way, ...]
    savings: Savings
    costs: Mapping[str, float]


def document(
    unit: ReadUnit,
    specs: Sequence[TaskSpec],
    upstreams: Mapping[str, UpstreamSettings],
    *,
    now: datetime,
    days: int = DAYS,
) -> Document:
    """The document over the last ``days`` days. Raises Invalid (``window``) for no days at all."""
    report = independence(unit, now=now, days=days)
    window = Window(since=report.since, until=report.until)
    span = Span(since=window.since, until=window.until)
    paid = sums(unit, span, by=("task",), without_arms=NOT_COUNTED)
    return Document(
        made_at=now,
        report=report,
        past=(*_past(unit, now, days), Past(at=now, score=report.score)),
        ways=tuple(ways(report)),
        savings=savings(unit, window, specs, upstreams),
        costs={row.task: row.cost for row in paid if row.task},
    )


def _past(unit: ReadUnit, now: datetime, days: int) -> list[Past]:
    """The score at the end of every day, with the routes and evaluations of then."""
    last = day_floor(now)
    first = last - (POINTS - 1) * DAY
    span = Span(since=first - days * DAY, until=last)
    rows: dict[str, list[Sums]] = {}
    for row in sums(unit, span, by=("day", "task", "status", "hosting"), without_arms=NOT_COUNTED):
        if row.task:
            rows.setdefault(row.slot, []).append(row)
    found = []
    for number in range(POINTS):
        at = first + number * DAY
        counts = _counts([one for back in range(days) for one in rows.get(_day(at, back), ())])
        window = Window(since=at - timedelta(days=days), until=at)
        score = independence_in(unit, window, counts).score if counts else None
        found.append(Past(at=at, score=score))
    return found


def _day(at: datetime, back: int) -> str:
    return day_of(at - (back + 1) * DAY)


def _counts(rows: Sequence[Sums]) -> list[CallCount]:
    by_task: dict[str, dict[str, int]] = {}
    for row in rows:
        host = row.hosting if row.status == "answered" and row.hosting else "unanswered"
        calls = by_task.setdefault(row.task, dict.fromkeys(_HOSTS, 0))
        calls[host] += row.calls
    return [CallCount(task=task, **calls) for task, calls in sorted(by_task.items())]
