"""What changed between two snapshots of a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from inhouse.core.errors import Invalid
from inhouse.datasets.dedupe import normalise
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.datasets.tables import SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit

_example = table_of(SnapshotExample)
ADDED, REMOVED = "added", "removed"
FIELDS = ("target", "input", "split", "weight", "quality")
WHATS = ("target", REMOVED, ADDED, "input", "split", "weight", "quality")
"""What can have changed, in the order in which changes stand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An example as one of the snapshots has it; the ``input`` of an erased one is no text."""

    input: Any
    target: Mapping[str, Any]
    split: str
    weight: float
    quality: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One text that is not in both snapshots alike. ``what``: ``added``, ``removed``, or which of
    target, input, split, weight and quality differ."""

    what: tuple[str, ...]
    before: Side | None
    after: Side | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelChange:
    """Examples with a label (or spans of a type) that came and went; both for one that changed."""

    label: str
    added: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """Examples that went from one split to another."""

    before: str
    after: str
    examples: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Diff:
    """Two snapshots compared by their texts. ``same``: examples alike in both; ``counts``: changes
    by what changed; ``settings``: by name, [before, after] where they were built differently."""

    before: SnapshotRecord
    after: SnapshotRecord
    same: int
    counts: Mapping[str, int]
    labels: Sequence[LabelChange]
    moves: Sequence[Move]
    settings: Mapping[str, Sequence[Any]]
    changes: Sequence[Change]


def compare(unit: ReadUnit, before: SnapshotRecord, after: SnapshotRecord) -> Diff:
    """What changed from one snapshot to the other.

    Two examples are the same text when their normalised inputs are equal; erased ones when they
    had the same content. Raises Invalid (``snapshot-tasks``) for snapshots of two tasks.
    """
    if before.task != after.task:
        raise Invalid(
            f"{before.short_hash} is of {before.task}, {after.short_hash} of {after.task}",
            code="snapshot-tasks",
            hint="compare snapshots of one task",
        )
    changes, same = changes_between(_sides(unit, before.id), _sides(unit, after.id))
    return Diff(
        before=before,
        after=after,
        same=same,
        counts=_counts(changes),
        labels=_labels(changes),
        moves=_moves(changes),
        settings=_settings(before.settings, after.settings),
        changes=changes,
    )


def changes_between(
    before: Mapping[str, Side], after: Mapping[str, Side]
) -> tuple[list[Change], int]:
    """Changes between examples by the key of their text, the weightiest first, and how many
    examples are alike."""
    changes = []
    for key in sorted(before.keys() | after.keys()):
        old, new = before.get(key), after.get(key)
        what = _what(old, new)
        if what:
            changes.append(Change(what=what, before=old, after=new))
    changes.sort(key=lambda change: WHATS.index(change.what[0]))
    return changes, len(before.keys() | after.keys()) - len(changes)


def _what(old: Side | None, new: Side | None) -> tuple[str, ...]:
    if old is None:
        return (ADDED,)
    if new is None:
        return (REMOVED,)
    return tuple(name for name in FIELDS if getattr(old, name) != getattr(new, name))


def _sides(unit: ReadUnit, snapshot_id: str) -> dict[str, Side]:
    wanted = select(
        _example.c.input,
        _example.c.target,
        _example.c.split,
        _example.c.weight,
        _example.c.quality,
        _example.c.content_hash,
    ).where(_example.c.snapshot_id == snapshot_id)
    return {_key(row): _side(row) for row in unit.execute(wanted)}


def _key(row: Any) -> str:
    if isinstance(row.input, str):
        return "text " + normalise(row.input)
    return "erased " + str(row.content_hash)


def _side(row: Any) -> Side:
    return Side(
        input=row.input,
        target=row.target,
        split=row.split,
        weight=row.weight,
        quality=row.quality,
    )


def _counts(changes: Sequence[Change]) -> dict[str, int]:
    found = Counter(what for change in changes for what in change.what)
    return {what: found[what] for what in WHATS}


def _labels(changes: Sequence[Change]) -> list[LabelChange]:
    came: Counter[str] = Counter()
    went: Counter[str] = Counter()
    for change in changes:
        old, new = _labels_of(change.before), _labels_of(change.after)
        came.update(new - old)
        went.update(old - new)
    return [
        LabelChange(label=label, added=came[label], removed=went[label])
        for label in sorted(came.keys() | went.keys())
    ]


def _labels_of(side: Side | None) -> Counter[str]:
    if side is None:
        return Counter()
    labelled = side.target.get("spans", (side.target,))
    return Counter(one["label"] for one in labelled if "label" in one)


def _moves(changes: Sequence[Change]) -> list[Move]:
    found = Counter(
        (change.before.split, change.after.split)
        for change in changes
        if change.before is not None and change.after is not None and "split" in change.what
    )
    return [Move(before=old, after=new, examples=n) for (old, new), n in sorted(found.items())]


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys([*before, *after])
    return {
        name: [before.get(name), after.get(name)]
        for name in names
        if before.get(name) != after.get(name)
    }
