"""Erasing examples: imported ones go, those of snapshots stay as empty rows with their hash."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Final

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update

from inhouse.datasets.tables import ImportedExample, Snapshot, SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.interactions.erase import ERASED

DROPPED: Final = "erased"
"""The reason under which a snapshot counts the examples that were erased after it was built."""
_imported = table_of(ImportedExample)
_snapshot = table_of(Snapshot)
_example = table_of(SnapshotExample)


def count_imported(unit: ReadUnit, subject: str) -> int:
    """How many imported examples a subject (its pseudonym) has."""
    counted = select(func.count()).select_from(_imported).where(_imported.c.subject == subject)
    return unit.execute(counted).scalar_one()


def imported_of_subject(unit: ReadUnit, subject: str, limit: int) -> list[str]:
    """Ids of some imported examples of a subject (its pseudonym)."""
    statement = select(_imported.c.id).where(_imported.c.subject == subject).limit(limit)
    return list(unit.execute(statement).scalars())


def erase_imported(unit: WriteUnit, ids: Collection[str]) -> Counter[str]:
    """Remove imported examples, and erase what snapshots hold of them; see ``erase_examples``.
    They are removed first, so that a snapshot that is built meanwhile has them or waits."""
    these = _imported.c.id.in_(ids)
    unit.execute(select(_imported.c.id).where(these).order_by(_imported.c.id).with_for_update())
    unit.execute(delete(_imported).where(these))
    return _erase(unit, _example.c.imported_id.in_(ids))


def erase_examples(unit: WriteUnit, interaction_ids: Collection[str]) -> Counter[str]:
    """Erase what snapshots hold of these interactions: input, target and group go; position, split,
    weight, origin and hash stay, and the snapshot counts them as dropped. Returns the examples
    erased by snapshot."""
    return _erase(unit, _example.c.interaction_id.in_(interaction_ids))


def count_erased(unit: WriteUnit, snapshot_id: str) -> int:
    """How many examples of a snapshot were erased; nobody erases another until the unit ends."""
    held = select(_snapshot.c.dropped).where(_snapshot.c.id == snapshot_id).with_for_update()
    return int(unit.execute(held).scalar_one().get(DROPPED, 0))


def _erase(unit: WriteUnit, wanted: ColumnElement[bool]) -> Counter[str]:
    place = (_example.c.snapshot_id, _example.c.position)
    held = select(*place).where(wanted, _example.c.input != ERASED)
    snapshots = _snapshot.c.id.in_(held.with_only_columns(place[0]))
    one_by_one = select(_snapshot.c.id).where(snapshots).order_by(_snapshot.c.id)
    unit.execute(one_by_one.with_for_update())
    rows = unit.execute(held).all()
    if not rows:
        return Counter()
    at = (place[0] == bindparam("of"), place[1] == bindparam("at"))
    erased = update(_example).where(*at).values(input=ERASED, target={}, group_key="")
    unit.execute(erased, [{"of": row.snapshot_id, "at": row.position} for row in rows])
    counts = Counter(row.snapshot_id for row in rows)
    for snapshot_id, count in sorted(counts.items()):
        _tell(unit, snapshot_id, count)
    return counts


def _tell(unit: WriteUnit, snapshot_id: str, count: int) -> None:
    one = _snapshot.c.id == snapshot_id
    dropped = unit.execute(select(_snapshot.c.dropped).where(one)).scalar_one()
    now = {**dropped, DROPPED: dropped.get(DROPPED, 0) + count}
    unit.execute(update(_snapshot).where(one).values(dropped=now))
