"""Calls over time and by facet: what the list of interactions stands under."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from inhouse.db.unit import ReadUnit
from inhouse.interactions.counts import facet_counts, sums
from inhouse.interactions.entry import Status
from inhouse.interactions.filters import Facets, Span
from inhouse.interactions.hours import HOUR, hour_floor, hour_of
from inhouse.monitoring.queries import Window

_BY_DAY_FROM: Final = timedelta(days=8)
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivitySlot:
    """Calls in an hour or a day; ``failed`` of them got no answer of a model."""

    start: datetime
    calls: int
    failed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FacetCount:
    """A value of a facet ("": none) and the calls that have it."""

    value: str
    calls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Activity:
    """Calls of every kind that match, in the whole hours that the window touches.

    ``slots`` are hours, in windows of more than a week days. ``facets`` counts, for each facet, the
    calls that match all the others, most first.
    """

    since: datetime
    until: datetime
    calls: int
    failed: int
    slots: tuple[ActivitySlot, ...]
    facets: dict[str, list[FacetCount]]


def activity(unit: ReadUnit, facets: Facets, window: Window) -> Activity:
    """Calls in a window, from their counts."""
    span = Span(since=window.since, until=window.until)
    by_day = window.until - window.since >= _BY_DAY_FROM
    found = sums(unit, span, by=("day" if by_day else "hour", "status"), facets=facets)
    slots: dict[str, tuple[int, int]] = {}
    for row in found:
        calls, failed = slots.get(row.slot, (0, 0))
        is_answered = row.status == Status.ANSWERED
        slots[row.slot] = (calls + row.calls, failed + (0 if is_answered else row.calls))
    return Activity(
        since=window.since,
        until=window.until,
        calls=sum(calls for calls, _ in slots.values()),
        failed=sum(failed for _, failed in slots.values()),
        slots=tuple(_every_slot(window, slots, by_day=by_day)),
        facets={
            name: [FacetCount(value=value, calls=calls) for value, calls in values]
            for name, values in facet_counts(unit, span, facets).items()
        },
    )


def _every_slot(
    window: Window, slots: dict[str, tuple[int, int]], *, by_day: bool
) -> list[ActivitySlot]:
    at = hour_floor(window.since)
    at = at.replace(hour=0) if by_day else at
    found = []
    while at < window.until:
        calls, failed = slots.get(_slot(at, by_day=by_day), (0, 0))
        found.append(ActivitySlot(start=at, calls=calls, failed=failed))
        at += _DAY if by_day else HOUR
    return found


def _slot(at: datetime, *, by_day: bool) -> str:
    hour = hour_of(at)
    return hour[: len("2026-01-31")] if by_day else hour
