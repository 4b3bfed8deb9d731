"""What calls used up by day: added up as they are recorded, read as totals."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.hours import DAY_LENGTH, HOUR, NEVER, hour_floor
from inhouse.interactions.tables import Spent

ADD: Final = (
    "(day, process, key_id, upstream) DO UPDATE SET requests = spent.requests + excluded.requests,"
    " tokens = spent.tokens + excluded.tokens, cost = spent.cost + excluded.cost"
)
"""What to do with counts of a day, process, key and upstream that are there: add to them."""
_PLACES: Final = 12
_NOTHING: Final = (0, 0, 0.0)
_table = table_of(Spent)


@dataclass(frozen=True, slots=True, kw_only=True)
class SpentRow:
    """What the calls of one key ("" for calls without a key) used up at one upstream, or, where
    ``upstream`` is "", the calls themselves and what all other backends used up."""

    key_id: str
    upstream: str
    requests: int
    tokens: int
    cost: float


def add_up(records: Iterable[InteractionRecord], process: str) -> list[tuple[object, ...]]:
    """Rows of the table ``Spent``, in the order of its columns, one for each distinct key.

    Spendings of upstream "" make no rows: what they say is what is left of the call's own tokens
    and cost.
    """
    sums: dict[tuple[str, str, str], tuple[int, int, float]] = {}

    def add(key: tuple[str, str, str], requests: int, tokens: int, cost: float) -> None:
        had = sums.get(key, _NOTHING)
        sums[key] = (had[0] + requests, had[1] + tokens, had[2] + cost)

    begin = end = NEVER
    day = ""
    for record in records:
        if not begin <= record.created_at < end:
            begin = hour_floor(record.created_at)
            end, day = begin + HOUR, begin.isoformat()[:DAY_LENGTH]
        key_id = record.key_id or ""
        tokens, cost = record.input_tokens + record.output_tokens, record.cost
        for spending in record.spendings:
            if spending.upstream:
                key = (day, key_id, spending.upstream)
                add(key, spending.tries, spending.tokens, spending.cost)
                tokens -= spending.tokens
                cost -= spending.cost
        left = round(cost, _PLACES) if cost > 0.0 else 0.0
        add((day, key_id, ""), 1, max(0, tokens), left)
    return [
        (day, process, key_id, upstream, *sums[day, key_id, upstream])
        for day, key_id, upstream in sorted(sums)
    ]


def totals(unit: ReadUnit, day: str, *, without_process: str | None = None) -> list[SpentRow]:
    """What was used up on a day (UTC, ``2026-01-31``), summed over the gateway processes.

    ``without_process`` leaves one out: who counts its own calls in memory asks for the others'.
    Ordered by key and upstream.
    """
    key = (_table.c.key_id, _table.c.upstream)
    statement = (
        select(
            *key,
            func.sum(_table.c.requests).label("requests"),
            func.sum(_table.c.tokens).label("tokens"),
            func.sum(_table.c.cost).label("cost"),
        )
        .where(_table.c.day == day)
        .group_by(*key)
        .order_by(*key)
    )
    if without_process is not None:
        statement = statement.where(_table.c.process != without_process)
    return [
        SpentRow(
            key_id=row.key_id,
            upstream=row.upstream,
            requests=int(row.requests),
            tokens=int(row.tokens),
            cost=row.cost,
        )
        for row in unit.execute(statement)
    ]
