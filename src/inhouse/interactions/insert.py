"""Batches of calls into their tables: the rows, and what they came to, in one transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any

from sqlalchemy import Dialect, select

from inhouse.db.bulk import BulkInsert, Row, bulk_cursor
from inhouse.db.dialects import table_of
from inhouse.db.unit import WriteUnit
from inhouse.interactions import activity, outcomes, spent
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.tables import Activity, Interaction, Outcome, OutcomeHead, Spent

_head = table_of(OutcomeHead)


class Repeated(Exception):
    """Some rows of a batch were there already."""


class Inserts:
    """Writes calls through a driver's cursor. ``process`` names who counts; ``counted`` is the
    number of the last outcome that it wrote. One object writes for a process, one transaction after
    the other."""

    def __init__(self, dialect: Dialect, process: str, *, counted: int = 0) -> None:
        self._process = process
        self._counted = counted
        self._interactions = BulkInsert(dialect, Interaction, conflict="DO NOTHING")
        self._spent = BulkInsert(dialect, Spent, conflict=spent.ADD)
        self._activity = BulkInsert(dialect, Activity, conflict=activity.ADD)
        self._outcomes = BulkInsert(dialect, Outcome, conflict="DO NOTHING")
        self._heads = BulkInsert(dialect, OutcomeHead, conflict=outcomes.HEAD)
        self._values_of = attrgetter(*self._interactions.names)

    def rows(self, records: Iterable[InteractionRecord]) -> list[Row]:
        """The records as the driver takes them. Raises ValueError or TypeError for one that the
        database can never hold."""
        return [self._interactions.row(self._values_of(record)) for record in records]

    def write_fresh(
        self, cursor: Any, records: Sequence[InteractionRecord], rows: Sequence[Row]
    ) -> None:
        """Write calls that nobody wrote before. Raises Repeated when some are there: then nothing
        of the transaction may be kept."""
        if self._interactions.execute(cursor, rows) != len(rows):
            raise Repeated
        self._count(cursor, records)

    def write_missing(
        self, cursor: Any, records: Sequence[InteractionRecord], rows: Sequence[Row]
    ) -> None:
        """Write those calls of a batch that are not there: an earlier try may have been committed
        without anybody hearing of it. Each is counted once."""
        pairs = zip(records, rows, strict=True)
        fresh = [record for record, row in pairs if self._interactions.execute(cursor, [row])]
        self._count(cursor, fresh)

    def _count(self, cursor: Any, records: Sequence[InteractionRecord]) -> None:
        found = outcomes.countable(records)
        paid = [one for one in records if one.arm != outcomes.SHADOW] if found else records
        if paid:
            self._spent.execute(cursor, spent.add_up(paid, self._process))
        self._activity.execute(cursor, activity.add_up(records, self._process))
        if found:
            self._number(cursor, found)

    def _number(self, cursor: Any, found: Sequence[InteractionRecord]) -> None:
        """Write outcomes under the next numbers. Those of a transaction that failed are not used
        again: it may have been committed without anybody hearing of it."""
        first = self._counted + 1
        self._counted += len(found)
        rows = [outcomes.row_of(one, self._process, first + i) for i, one in enumerate(found)]
        self._outcomes.execute(cursor, [self._outcomes.row(row) for row in rows])
        head = outcomes.head_of(self._process, self._counted, found[-1].created_at)
        self._heads.execute(cursor, [self._heads.row(head)])


def insert(unit: WriteUnit, records: Sequence[InteractionRecord], *, process: str = "") -> None:
    """Insert calls in a unit of work; one whose id is there already is left as it is."""
    head = select(_head.c.number).where(_head.c.process == process)
    counted = unit.execute(head).scalar_one_or_none() or 0
    inserts = Inserts(unit.dialect, process, counted=counted)
    cursor = bulk_cursor(unit.dialect, unit.connection.driver_connection)
    inserts.write_missing(cursor, records, inserts.rows(records))
