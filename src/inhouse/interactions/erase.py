"""Erasing what calls said: the row stays, with its id, times, tokens and cost."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, bindparam, func, or_, select, update

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.interactions.content import without_messages
from inhouse.interactions.tables import Interaction

ERASED: Final = {"erased": True}
"""What stands in the place of an input that was erased."""
_table = table_of(Interaction)


class Call(NamedTuple):
    """What is needed of a call to erase it, and all that belongs to it."""

    id: str
    created_at: datetime
    key_id: str | None
    attempts: Any


def is_erased(value: Any) -> bool:
    """Whether a stored input was erased."""
    return bool(value == ERASED)


def count_of_subject(unit: ReadUnit, subject: str) -> int:
    """How many calls of a subject (its pseudonym) hold content."""
    return _count(unit, _table.c.subject == subject)


def count_before(unit: ReadUnit, moment: datetime, task: str | None = None) -> int:
    """How many calls (of one task, or all) are older than a moment, erased ones included."""
    return _count(unit, _before(moment, task))


def of_subject(unit: ReadUnit, subject: str, limit: int) -> list[Call]:
    """Some calls of a subject (its pseudonym). Erased ones belong to nobody."""
    found = unit.execute(_calls(_table.c.subject == subject, limit))
    return [Call(*row) for row in found]


def older(
    unit: ReadUnit, moment: datetime, after: Call | None, limit: int, task: str | None = None
) -> list[Call]:
    """The oldest calls (of a task, or all) before a moment that hold content, from ``after`` on."""
    wanted = and_(_before(moment, task), _table.c.input != ERASED)
    if after is not None:
        at = _table.c.created_at
        later = or_(at > after.created_at, and_(at == after.created_at, _table.c.id > after.id))
        wanted = and_(wanted, at >= after.created_at, later)
    oldest = _calls(wanted, limit).order_by(_table.c.created_at, _table.c.id)
    return [Call(*row) for row in unit.execute(oldest)]


def erase(unit: WriteUnit, calls: Sequence[Call]) -> None:
    """Erase input, output, what the model said, tags, unit, subject, and the messages of failed
    tries. Status, times, reference, arm, tokens and cost stay. In the order of the ids, as others
    that hold many calls do, so that nobody waits for one who waits for him."""
    statement = (
        update(_table)
        .where(_table.c.id == bindparam("call"))
        .values(
            input=ERASED,
            output=None,
            raw=None,
            probabilities=None,
            tags=None,
            unit=None,
            subject=None,
            attempts=bindparam("kept"),
        )
    )
    rows = [
        {"call": call.id, "kept": without_messages(call.attempts)}
        for call in sorted(calls, key=lambda one: one.id)
    ]
    if rows:
        unit.execute(statement, rows)


def _before(moment: datetime, task: str | None) -> ColumnElement[bool]:
    older_ones = _table.c.created_at < moment
    return older_ones if task is None else and_(_table.c.task == task, older_ones)


def _count(unit: ReadUnit, wanted: ColumnElement[bool]) -> int:
    return unit.execute(select(func.count()).select_from(_table).where(wanted)).scalar_one()


def _calls(wanted: ColumnElement[bool], limit: int) -> Select[Any]:
    columns = (_table.c.id, _table.c.created_at, _table.c.key_id, _table.c.attempts)
    return select(*columns).where(wanted).limit(limit)
