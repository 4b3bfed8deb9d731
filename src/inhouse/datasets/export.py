"""A snapshot's examples as a file in a format of other tools."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
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
_ERASED = "erased"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportReport:
    """What was written. ``left_out``: examples by reason, those that the format has no form for and
    those whose text was erased."""

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
    counted = _Counted(_rows(unit, snapshot.id, split), progress)
    left_out = load(file_format).write(file, spec, counted)
    written = counted.seen - sum(left_out.values())
    if counted.erased:
        left_out[_ERASED] = counted.erased
    return ExportReport(written=written, left_out=left_out)


class _Counted:
    """Passes on the records that have a text, and counts them and the others."""

    def __init__(
        self, rows: Iterable[Row[Any]], progress: Callable[[int], None] | None = None
    ) -> None:
        self._rows, self._progress = rows, progress
        self.seen = self.erased = 0

    def __iter__(self) -> Iterator[Record]:
        for row in self._rows:
            if not isinstance(row.input, str) or not row.input.strip():
                self.erased += 1
                continue
            self.seen += 1
            yield _record(row)
            if self._progress is not None and self.seen % _BATCH == 0:
                self._progress(self.seen)


def _rows(unit: ReadUnit, snapshot_id: str, split: str | None) -> Iterable[Row[Any]]:
    statement = select(_example).where(_example.c.snapshot_id == snapshot_id)
    if split is not None:
        statement = statement.where(_example.c.split == split)
    ordered = statement.order_by(_example.c.position)
    return unit.execute(ordered, execution_options={"yield_per": _BATCH})


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
