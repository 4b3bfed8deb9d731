"""Reading what was recorded.

The counts of ``activity`` say in which hours there are calls that match, so a page of rare ones is
found without reading what lies between. A text has no counts: it is looked for in the newest calls
only, and the answer says how far back.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, case, func, or_, select, true, type_coerce
from sqlalchemy.types import Text

from inhouse.core.errors import Invalid, NotFound
from inhouse.core.ids import created_at as moment_of_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.counts import hours_in
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.filters import FACETS, Facets, Span, contains, has_tag
from inhouse.interactions.hours import HOUR, moment_of
from inhouse.interactions.tables import Activity, Interaction

MOST: Final = 1000
SEARCHED: Final = 10_000
"""Calls that one search for a text reads at most."""
_HOURS_AT_ONCE: Final = 24
_TICK: Final = timedelta(microseconds=1)
_table = table_of(Interaction)
_activity = table_of(Activity)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A page of interactions, newest first.

    ``next``: the id before which the next page starts; None when this one is not full. Of a search
    for a text or a tag that did not fill its page, ``searched`` is how many calls it read, and
    ``reached`` the moment before which it did not look, if any: to go on, end the next span there.
    """

    items: list[InteractionRecord]
    next: str | None
    searched: int | None = None
    reached: datetime | None = None


def find(
    unit: ReadUnit,
    facets: Facets,
    span: Span,
    *,
    text: str = "",
    tag: tuple[str, str] | None = None,
    before_id: str | None = None,
    limit: int = 50,
    most: int = SEARCHED,
) -> Found:
    """The newest interactions that match, before one (``before_id``) if given.

    ``text`` is looked for in input and output, in the ``most`` newest calls of the span (of the
    task, where the facets name one) only; so is ``tag``, a name and its value. Raises Invalid
    (``limit``) when ``limit`` is not in 1..1000.
    """
    if not 1 <= limit <= MOST:
        raise Invalid(f"limit is {limit}", code="limit", hint=f"ask for 1 to {MOST}")
    before: ColumnElement[bool] = true()
    if before_id is not None:
        moment = _moment_of(unit, before_id)
        before = or_(_table.c.created_at < moment, _table.c.id < before_id)
        span = replace(span, until=min(filter(None, (span.until, moment + _TICK))))
    if not text and tag is None:
        items = _page(unit, facets, span, before, limit)
        return Found(items=items, next=items[-1].id if len(items) == limit else None)
    wanted = and_(before, *facets.where(_table), *_content(unit, text, tag))
    return _look_through(unit, facets, span, wanted, limit, most)


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
    """``find`` with the filters by name: only the interactions."""
    facets = Facets(task=task, status=status, arm=arm, reference=reference)
    span = Span(since=since, until=until)
    return find(unit, facets, span, before_id=before_id, limit=limit).items


def newest_tags(unit: ReadUnit, facets: Facets, span: Span, most: int) -> list[dict[str, str]]:
    """The tags of those that match, and have any, among the newest ``most`` calls in a span."""
    columns = [_table.c[name] for name in ("tags", *FACETS)]
    newest = select(*columns).where(*span.where(_table)).order_by(_table.c.created_at.desc())
    among = newest.limit(most).subquery()
    statement = select(among.c.tags).where(among.c.tags.is_not(None), *facets.where(among))
    return [row.tags for row in unit.execute(statement) if row.tags]


def _page(
    unit: ReadUnit, facets: Facets, span: Span, before: ColumnElement[bool], limit: int
) -> list[InteractionRecord]:
    """Hour by hour, as many as are wanted."""
    found: list[InteractionRecord] = []
    for hour in _hours(unit, facets, span):
        inside = and_(before, *facets.where(_table), *span.within(hour).where(_table))
        rows = unit.execute(_newest(inside).limit(limit - len(found)))
        found += [_record_of(row) for row in rows]
        if len(found) == limit:
            break
    return found


def _look_through(
    unit: ReadUnit,
    facets: Facets,
    span: Span,
    wanted: ColumnElement[bool],
    limit: int,
    most: int,
) -> Found:
    """The newest calls, one after the other."""
    at = _table.c.created_at
    of_task = and_(true(), *Facets(task=facets.task).where(_table, copies=True))
    newest = select(at).where(of_task, *span.where(_table)).order_by(at.desc())
    reached = unit.execute(newest.offset(most - 1).limit(1)).scalar()
    if reached is not None:
        span = replace(span, since=reached)
    rows = unit.execute(_newest(and_(of_task, wanted, *span.where(_table))).limit(limit))
    items = [_record_of(row) for row in rows]
    if len(items) == limit:
        return Found(items=items, next=items[-1].id)
    searched = most
    if reached is None:
        searched = unit.execute(select(func.count()).select_from(newest.subquery())).scalar_one()
    return Found(items=items, next=None, searched=searched, reached=reached)


def _content(
    unit: ReadUnit, text: str, tag: tuple[str, str] | None
) -> Iterator[ColumnElement[bool]]:
    if text:
        stored = (type_coerce(column, Text) for column in (_table.c.input, _table.c.output))
        yield or_(*(contains(unit, column, text) for column in stored))
    if tag is not None:
        yield has_tag(unit, type_coerce(_table.c.tags, Text), *tag)


def _newest(where: ColumnElement[bool]) -> Any:
    return select(_table).where(where).order_by(_table.c.created_at.desc(), _table.c.id.desc())


def _moment_of(unit: ReadUnit, interaction_id: str) -> datetime:
    """When a call began; of one that is gone, when its id was made."""
    statement = select(_table.c.created_at).where(_table.c.id == interaction_id)
    found: datetime | None = unit.execute(statement).scalar()
    return found or moment_of_id(interaction_id)


def _hours(unit: ReadUnit, facets: Facets, span: Span) -> Iterator[Span]:
    """The hours with calls that match, newest first, from the oldest call that is kept on."""
    at = _table.c.created_at
    oldest = unit.execute(select(func.min(at))).scalar()
    if oldest is None:
        return
    span = replace(span, since=max(filter(None, (span.since, oldest))))
    until = span.until
    while True:
        bounds = hours_in(replace(span, until=until))
        statement = (
            select(_activity.c.hour)
            .where(*facets.where(_activity), *bounds)
            .group_by(_activity.c.hour)
            .order_by(_activity.c.hour.desc())
            .limit(_HOURS_AT_ONCE)
        )
        hours = [moment_of(row.hour) for row in unit.execute(statement)]
        for hour in hours:
            yield Span(since=hour, until=hour + HOUR)
        if len(hours) < _HOURS_AT_ONCE:
            return
        until = hours[-1]


def counts_by_hosting(
    unit: ReadUnit, *, since: datetime, until: datetime, forced: bool = False
) -> list[HostingCount]:
    """Answered calls of tasks in ``[since, until)`` by task and hosting, in that order.

    Free chats have no task and are left out; arms that no statistic counts too unless ``forced``.
    """
    key = (_table.c.task, _table.c.hosting)
    filters = [
        *Span(since=since, until=until).where(_table),
        _table.c.status == "answered",
        _table.c.task.is_not(None),
        _table.c.hosting.is_not(None),
    ]
    if not forced:
        filters.append(_table.c.arm.not_in(NOT_COUNTED))
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


def _record_of(row: Row[Any]) -> InteractionRecord:
    return InteractionRecord(**row._mapping)
