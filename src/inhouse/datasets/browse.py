"""Looking into a snapshot: its examples page by page, and where they came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select

from inhouse.datasets.tables import SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit

_example = table_of(SnapshotExample)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """An example with its place in the snapshot."""

    position: int
    split: str
    input: Any
    target: Mapping[str, Any]
    weight: float
    quality: float
    group: str
    origin: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamplePage:
    """Examples in the snapshot's order. ``next`` is the ``after`` of the page that follows, if any;
    ``total`` counts all that match."""

    items: Sequence[Shown]
    next: int | None
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Examples by where they came from (``correction``, ``outcome``, or the name of an import), and
    how many were agreed on by several statements."""

    counts: Mapping[str, int]
    agreed: int


def examples(
    unit: ReadUnit,
    snapshot_id: str,
    *,
    split: str | None = None,
    label: str | None = None,
    after: int = -1,
    limit: int = 20,
) -> ExamplePage:
    """One page of a snapshot's examples, of one split and (for a choice) one label."""
    matching = _matching(snapshot_id, split, label)
    total = unit.execute(select(func.count()).select_from(matching.subquery())).scalar() or 0
    query = matching.where(_example.c.position > after).order_by(_example.c.position)
    rows = unit.execute(query.limit(limit + 1)).all()
    items = [_shown(row) for row in rows[:limit]]
    following = items[-1].position if len(rows) > limit else None
    return ExamplePage(items=items, next=following, total=total)


def sources(unit: ReadUnit, snapshot_id: str) -> Sources:
    """Where the examples of a snapshot came from. Reads them all."""
    query = select(_example.c.origin).where(_example.c.snapshot_id == snapshot_id)
    counts: Counter[str] = Counter()
    agreed = 0
    for (origin,) in unit.execute(query):
        kind = origin.get("kind", "")
        counts[str(origin.get("source") or kind) if kind == "import" else kind] += 1
        agreed += len(origin.get("feedback_ids", ())) > 1
    return Sources(counts=dict(counts.most_common()), agreed=agreed)


def _matching(snapshot_id: str, split: str | None, label: str | None) -> Select[Any]:
    query = select(_example).where(_example.c.snapshot_id == snapshot_id)
    if split is not None:
        query = query.where(_example.c.split == split)
    if label is not None:
        query = query.where(_example.c.target == {"label": label})
    return query


def _shown(row: Row[Any]) -> Shown:
    return Shown(
        position=row.position,
        split=row.split,
        input=row.input,
        target=row.target,
        weight=row.weight,
        quality=row.quality,
        group=row.group_key,
        origin=row.origin,
    )
