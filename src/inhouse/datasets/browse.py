"""Looking into a snapshot: its examples page by page, and where they came from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, ColumnElement, Row, Select, cast, func, select

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


def sources(unit: ReadUnit, snapshot_id: str) -> dict[str, int]:
    """Examples by where they came from, the most first: ``correction``, ``outcome``, or the name of
    what was imported."""
    of_snapshot = _example.c.snapshot_id == snapshot_id
    kind, source = _in_origin(unit, "kind"), _in_origin(unit, "source")
    counted = select(kind.label("kind"), source.label("source"), func.count().label("examples"))
    rows = unit.execute(counted.where(of_snapshot).group_by(kind, source))
    found: dict[str, int] = {}
    for row in rows:
        name = str(row.source or row.kind or "")
        found[name] = found.get(name, 0) + row.examples
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _in_origin(unit: ReadUnit, field: str) -> ColumnElement[Any]:
    """A field of the origin, which is JSON text."""
    if unit.dialect.name == "postgresql":
        return func.json_extract_path_text(cast(_example.c.origin, JSON), field)
    return func.json_extract(_example.c.origin, f"$.{field}")


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
