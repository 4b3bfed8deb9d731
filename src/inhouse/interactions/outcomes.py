"""How calls of a split ended, for rollouts and experiments: numbered as they are recorded."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Final

from inhouse.interactions.entry import InteractionRecord, Status

HEAD: Final = "(process) DO UPDATE SET number = excluded.number, created_at = excluded.created_at"
"""What to do with the head of a process that is there: move it on."""
SHADOW: Final = "shadow"
"""Arm of a candidate's answer to a copy of a call, which nobody gets to see."""
_SPLIT: Final = ("incumbent", "candidate")
_FULL_BP: Final = 10_000
_ANSWERED: Final = Status.ANSWERED
_SILENT: Final = "breaker-silent"


def countable(records: Iterable[InteractionRecord]) -> list[InteractionRecord]:
    """Those that a rollout may count: calls of a split, and shadows. Where a task has neither, this
    costs one look at every record."""
    return [one for one in records if (one.weight_bp or one.shadow_of) and _counts(one)]


def is_bad(record: InteractionRecord) -> bool:
    """Not answered, not in time, not valid, or rescued by a fallback."""
    return record.status != _ANSWERED or record.rescued


def row_of(record: InteractionRecord, process: str, number: int) -> tuple[object, ...]:
    """A row of the table ``Outcome``, in the order of its columns."""
    return (
        process,
        number,
        record.task,
        record.route_revision,
        record.arm,
        record.weight_bp or 0,
        is_bad(record),
        record.paired_bad,
        record.latency_ms,
        record.unit,
        record.shadow_of or record.id,
        record.created_at,
    )


def head_of(process: str, number: int, at: datetime) -> tuple[object, ...]:
    """A row of the table ``OutcomeHead``, in the order of its columns."""
    return (process, number, at)


def _counts(record: InteractionRecord) -> bool:
    if record.task is None or record.route_revision is None:
        return False
    if record.arm == SHADOW:
        return record.paired_bad is not None
    in_split = record.arm in _SPLIT and 0 < (record.weight_bp or 0) < _FULL_BP
    return in_split and not _was_left_out(record)


def _was_left_out(record: InteractionRecord) -> bool:
    """Whether somebody else answered because the arm owed too many answers at that moment: it was
    not asked, so nothing is known of it. The calls that it owes are counted when they end."""
    if not record.rescued or not record.attempts:
        return False
    return bool(record.attempts[0]["code"] == _SILENT)
