"""A snapshot's examples as a file in a format of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from sqlalchemy import Row, select

from inhouse.core.errors import Conflict, Invalid
from inhouse.datasets.example import Split
from inhouse.datasets.formats.choose import load
from inhouse.datasets.formats.row import Record
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.datasets.tables import SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.tasks.spec import TaskSpec

_example = table_of(SnapshotExample)
_BATCH = 500
_NAMED, _OWN_TEXT = "group:", "text:"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written. ``left_out``: examples that the format has no form for, by reason."""

    written: int
    left_out: dict[str, int]


def write_snapshot(
    unit: ReadUnit,
    spec: TaskSpec,
    snapshot: SnapshotRecord,
    file: BinaryIO,
    *,
    file_format: str,
    split: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> ExportReport:
    """Write the examples of a snapshot, of one split or of all, in the snapshot's order.

    ``spec`` is the task as it is declared. ``progress`` is told how many were read, 500 at a time.
    Raises Conflict (``other-revision``) when the task has changed since, Invalid (``split``) for an
    unknown split, (``format``, ``missing-extra``, ``export-format``) when the format is unknown or
    does not fit the task.
    """
    if split is not None and split not in list(Split):
        raise Invalid(f"{split!r} is no split", code="split", hint="splits: " + ", ".join(Split))
    if spec.revision != snapshot.task_revision:
        raise Conflict(
            f"{spec.name} was declared differently when {snapshot.short_hash} was built",
            code="other-revision",
            hint="`inhouse db export` writes snapshots of every revision",
        )
    counted = _Counted(_records(unit, snapshot.id, split), progress)
    left_out = load(file_format).write(file, spec, counted)
    return ExportReport(written=counted.seen - sum(left_out.values()), left_out=left_out)


class _Counted:
    """Passes records on and counts them."""

    def __init__(
        self, records: Iterator[Record], progress: Callable[[int], None] | None = None
    ) -> None:
        self._records, self._progress = records, progress
        self.seen = 0

    def __iter__(self) -> Iterator[Record]:
        for record in self._records:
            self.seen += 1
            yield record
            if self._progress is not None and self.seen % _BATCH == 0:
                self._progress(self.seen)


def _records(unit: ReadUnit, snapshot_id: str, split: str | None) -> Iterator[Record]:
    statement = select(_example).where(_example.c.snapshot_id == snapshot_id)
    if split is not None:
        statement = statement.where(_example.c.split == split)
    rows = unit.execute(
        statement.order_by(_example.c.position), execution_options={"yield_per": _BATCH}
    )
    return map(_record, rows)


def _record(row: Row[Any]) -> Record:
    return Record(
        text=row.input,
        target=row.target,
        weight=row.weight,
        quality=row.quality,
        group=_group(row.group_key),
        split=row.split,
    )


def _group(key: str) -> str | None:
    """The name that an import makes the same groups of; none where a text stands alone."""
    if key.startswith(_OWN_TEXT):
        return None
    return key.removeprefix(_NAMED)
