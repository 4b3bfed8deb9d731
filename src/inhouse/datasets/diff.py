"""What changed between two snapshots of a task."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from operator import itemgetter
from typing import Any, NamedTuple

from inhouse.core.errors import Invalid
from inhouse.datasets.sides import Side, in_batches, marks, sides
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.db.unit import ReadUnit

ADDED, REMOVED = "added", "removed"
FIELDS = ("target", "input", "split", "weight", "quality")
WHATS = ("target", REMOVED, ADDED, "input", "split", "weight", "quality")
"""What can have changed, in the order in which changes stand."""


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
    """Two snapshots compared by their texts. ``same``: examples alike in both; ``changed``: those
    that are not; ``counts``: changes by what changed; ``settings``: by name, [before, after] where
    they were built differently. ``changes``: those that were asked for, of ``matching`` that there
    are of the kind."""

    before: SnapshotRecord
    after: SnapshotRecord
    same: int
    changed: int
    counts: Mapping[str, int]
    labels: Sequence[LabelChange]
    moves: Sequence[Move]
    settings: Mapping[str, Sequence[Any]]
    matching: int
    changes: Sequence[Change]


class _Found(NamedTuple):
    """A change, and where its examples stand (None: in that snapshot there is none)."""

    what: tuple[str, ...]
    before: int | None
    after: int | None


def compare(
    unit: ReadUnit,
    before: SnapshotRecord,
    after: SnapshotRecord,
    *,
    what: str | None = None,
    start: int = 0,
    limit: int | None = None,
) -> Diff:
    """What changed from one snapshot to the other, and the changes from the ``start``-th on.

    They stand by what changed, the weightiest first, and then by their texts. ``limit``: at most so
    many, all when None. ``what``: one of WHATS, for those alone.

    Two examples are the same text when their normalised inputs are equal; erased ones when they
    had the same content. Of all examples only digests are in memory, and of texts as many as
    ``start + limit``. Raises Invalid (``snapshot-tasks``) for snapshots of two tasks, and
    (``diff``) for a ``what`` that there is not.
    """
    if before.task != after.task:
        raise Invalid(
            f"{before.short_hash} is of {before.task}, {after.short_hash} of {after.task}",
            code="snapshot-tasks",
            hint="compare snapshots of one task",
        )
    if what is not None and what not in WHATS:
        raise Invalid(f"nothing changes in {what!r}", code="diff", hint=", ".join(WHATS))
    comparison = _Comparison(unit, before.id, after.id)
    wanted = [one for one in comparison.found if what is None or what in one.what]
    end = len(wanted) if limit is None else start + limit
    return Diff(
        before=before,
        after=after,
        same=comparison.same,
        changed=len(comparison.found),
        counts={one: comparison.counts[one] for one in WHATS},
        labels=comparison.labels(),
        moves=comparison.moves(),
        settings=_settings(before.settings, after.settings),
        matching=len(wanted),
        changes=comparison.page(wanted, start, end),
    )


class _Comparison:
    """The changes between two snapshots, counted, each known by its place."""

    def __init__(self, unit: ReadUnit, before_id: str, after_id: str) -> None:
        self._unit, self._before_id, self._after_id = unit, before_id, after_id
        self._came: Counter[str] = Counter()
        self._went: Counter[str] = Counter()
        self._moved: Counter[tuple[str, str]] = Counter()
        self.counts: Counter[str] = Counter()
        self.found: list[_Found] = []
        old, new = marks(unit, before_id), marks(unit, after_id)
        places: list[_Found] = []
        for key in old.keys() | new.keys():
            was, now = old.get(key), new.get(key)
            if was is None or now is None or was.digest != now.digest:
                there = (one.position if one is not None else None for one in (was, now))
                places.append(_Found((), *there))
        texts = len(old.keys() | new.keys())
        del old, new
        for batch in in_batches(places):
            for place, (_, change) in zip(batch, self._read(batch), strict=True):
                if change.what:
                    self._count(change)
                    self.found.append(place._replace(what=change.what))
        self.same = texts - len(self.found)

    def page(self, wanted: Sequence[_Found], start: int, end: int) -> list[Change]:
        """Those changes in their order, from one place to before another."""
        shown: list[Change] = []
        passed = 0
        for first in WHATS:
            alike = [one for one in wanted if one.what[0] == first]
            begin, stop = max(start - passed, 0), min(end - passed, len(alike))
            passed += len(alike)
            if begin < stop:
                keyed = (one for batch in in_batches(alike) for one in self._read(batch))
                shown += [change for _, change in nsmallest(stop, keyed, itemgetter(0))[begin:]]
        return shown

    def labels(self) -> list[LabelChange]:
        return [
            LabelChange(label=label, added=self._came[label], removed=self._went[label])
            for label in sorted(self._came.keys() | self._went.keys())
        ]

    def moves(self) -> list[Move]:
        return [
            Move(before=old, after=new, examples=n) for (old, new), n in sorted(self._moved.items())
        ]

    def _read(self, places: Sequence[_Found]) -> Iterator[tuple[str, Change]]:
        """The changes at those places, with the keys of their texts."""
        olds = [one.before for one in places if one.before is not None]
        news = [one.after for one in places if one.after is not None]
        was = sides(self._unit, self._before_id, olds)
        now = sides(self._unit, self._after_id, news)
        nothing = (None, None)
        for one in places:
            old_key, old = nothing if one.before is None else was[one.before]
            new_key, new = nothing if one.after is None else now[one.after]
            yield old_key or new_key or "", Change(what=_what(old, new), before=old, after=new)

    def _count(self, change: Change) -> None:
        self.counts.update(change.what)
        old, new = change.before, change.after
        was, now = _labels_of(old), _labels_of(new)
        self._came.update(now - was)
        self._went.update(was - now)
        if old is not None and new is not None and "split" in change.what:
            self._moved[old.split, new.split] += 1


def _what(old: Side | None, new: Side | None) -> tuple[str, ...]:
    if old is None:
        return (ADDED,)
    if new is None:
        return (REMOVED,)
    return tuple(name for name in FIELDS if getattr(old, name) != getattr(new, name))


def _labels_of(side: Side | None) -> Counter[str]:
    if side is None:
        return Counter()
    labelled = side.target.get("spans", (side.target,))
    return Counter(one["label"] for one in labelled if "label" in one)


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, list[Any]]:
    names = dict.fromkeys([*before, *after])
    return {
        name: [before.get(name), after.get(name)]
        for name in names
        if before.get(name) != after.get(name)
    }
