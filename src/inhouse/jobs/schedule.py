"""Work that comes again: at most once in an interval, over all processes on a database.

When something was last begun stands in the database. Whoever moves that moment on by
compare-and-set begins it, in the same transaction as the jobs that it adds: a process that dies
between the two has done neither.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select, update

from inhouse.db.base import instant_text
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import ReadUnit, WriteUnit

_PREFIX: Final = "schedule."
_table = table_of(Meta)


def last(unit: ReadUnit, name: str) -> datetime | None:
    """When ``name`` was begun last, or first heard of; None when nobody asked for it yet."""
    found = _stored(unit, name)
    return None if found is None else datetime.fromisoformat(found)


def is_due(unit: ReadUnit, name: str, every: timedelta, *, at: datetime) -> bool:
    """A cheap look before ``take``. What was never heard of is due, so that ``take`` notes it."""
    before = last(unit, name)
    return before is None or _over(before, every, at)


def take(unit: WriteUnit, name: str, every: timedelta, *, at: datetime) -> bool:
    """Whether the caller is to begin ``name`` now, in this unit.

    The first time only notes the moment: the interval begins then. A moment in the future is from a
    clock that was wrong; it is put right, and the interval begins anew.
    """
    now = instant_text(at)
    unit.execute(insert_ignore(unit, Meta).values(name=_PREFIX + name, value=now))
    stored = _stored(unit, name)
    if stored is None or stored == now:
        return False
    before = datetime.fromisoformat(stored)
    if not _over(before, every, at):
        return False
    moved = unit.execute(
        update(_table)
        .where(_table.c.name == _PREFIX + name, _table.c.value == stored)
        .values(value=now)
    )
    return moved.rowcount == 1 and before <= at


def _over(before: datetime, every: timedelta, at: datetime) -> bool:
    return at - before >= every or before > at


def _stored(unit: ReadUnit, name: str) -> str | None:
    statement = select(_table.c.value).where(_table.c.name == _PREFIX + name)
    return unit.execute(statement).scalar_one_or_none()
