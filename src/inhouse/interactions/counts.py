"""Reading the counts of ``activity``: sums over time, as the pages and reports want them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, func, or_, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.interactions.filters import FACETS, Facets, Span
from inhouse.interactions.hours import (
    DAY,
    DAY_LENGTH,
    LENGTH,
    day_ceiling,
    day_floor,
    day_of,
    hour_ceiling,
    hour_of,
)
from inhouse.interactions.tables import Activity

_table = table_of(Activity)
_MOST_DAYS: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """Calls with something in common; what they were not told apart by is "" (``bucket`` 0).

    ``slot`` is an hour (``2026-01-31T09``) or a day (``2026-01-31``). ``latency_ms`` and ``cost``
    are sums.
    """

    slot: str = ""
    task: str = ""
    status: str = ""
    arm: str = ""
    reference: str = ""
    hosting: str = ""
    bucket: int = 0
    calls: int
    latency_ms: float
    input_tokens: int
    output_tokens: int
    cost: float


def sums(
    unit: ReadUnit,
    span: Span,
    *,
    by: Sequence[str],
    facets: Facets | None = None,
    without_arms: Sequence[str] = (),
) -> list[Sums]:
    """Calls in every hour that the span touches, told apart by ``hour`` or ``day`` and any of
    ``task``, ``status``, ``arm``, ``reference``, ``hosting``, ``bucket``. In no order."""
    keys = [_key(name) for name in by]
    slots = hours_in(span) if "hour" in by else days_and_hours_in(span)
    statement = (
        select(*keys, *(func.sum(_table.c[name]).label(name) for name in _SUMMED))
        .where(or_(*slots), *(facets.where(_table) if facets else ()))
        .group_by(*keys)
    )
    if without_arms:
        statement = statement.where(_table.c.arm.not_in(without_arms))
    return [_read(row) for row in unit.execute(statement)]


def hours_in(span: Span) -> list[ColumnElement[bool]]:
    """The rows of the hours that a span touches: a condition that holds for none of the days."""
    bounds: list[ColumnElement[bool]] = [func.length(_table.c.hour) == LENGTH]
    if span.since is not None:
        bounds.append(_table.c.hour >= hour_of(span.since))
    if span.until is not None:
        bounds.append(_table.c.hour < hour_of(hour_ceiling(span.until)))
    return [and_(*bounds)]


def days_and_hours_in(span: Span) -> list[ColumnElement[bool]]:
    """The rows of the whole days of a span, and those of the hours that it touches at its ends."""
    if span.since is None or span.until is None:
        return hours_in(span)
    first, last = day_ceiling(span.since), day_floor(hour_ceiling(span.until))
    if first >= last:
        return hours_in(span)
    ends = (Span(since=span.since, until=first), Span(since=last, until=span.until))
    return [
        _days(first, last),
        *(one for end in ends if end.since != end.until for one in hours_in(end)),
    ]


def _days(first: datetime, last: datetime) -> ColumnElement[bool]:
    """The rows of the days from ``first`` to before ``last``: by their keys, unless they are more
    than a statement takes."""
    count = (last - first) // DAY
    if count <= _MOST_DAYS:
        return _table.c.hour.in_([day_of(first + number * DAY) for number in range(count)])
    return and_(
        func.length(_table.c.hour) == DAY_LENGTH,
        _table.c.hour >= day_of(first),
        _table.c.hour < day_of(last),
    )


def facet_counts(unit: ReadUnit, span: Span, facets: Facets) -> dict[str, list[tuple[str, int]]]:
    """For each facet its values and how many calls have them, most first, in the hours that the
    span touches: of the calls that match all the other facets."""
    found = sums(unit, span, by=FACETS)
    counts: dict[str, dict[str, int]] = {name: {} for name in FACETS}
    for row in found:
        for name in FACETS:
            if facets.match(row, but=name):
                value = getattr(row, name)
                counts[name][value] = counts[name].get(value, 0) + row.calls
    return {
        name: sorted(values.items(), key=lambda one: (-one[1], one[0]))
        for name, values in counts.items()
    }


_SUMMED: Final = ("calls", "latency_ms", "input_tokens", "output_tokens", "cost")
_COUNTS: Final = ("calls", "input_tokens", "output_tokens")


def _key(name: str) -> ColumnElement[Any]:
    if name == "hour":
        return _table.c.hour.label("slot")
    if name == "day":
        return func.substr(_table.c.hour, 1, DAY_LENGTH).label("slot")
    return _table.c[name]


def _read(row: Row[Any]) -> Sums:
    values = dict(row._mapping)
    return Sums(**values | {name: int(values[name]) for name in _COUNTS})
