"""Examples of a snapshot as a comparison sees them: marks of all, whole ones a few at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import Row, Select, select

from inhouse.core.hashing import canonical_json
from inhouse.datasets.dedupe import normalise
from inhouse.datasets.tables import SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit

BATCH: Final = 200
"""Examples in memory at once."""
_DIGEST_BYTES: Final = 16
_example = table_of(SnapshotExample)
Key = bytes
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """An example as one of the snapshots has it; the ``input`` of an erased one is no text."""

    input: Any
    target: Mapping[str, Any]
    split: str
    weight: float
    quality: float


class Mark(NamedTuple):
    """Where an example stands in its snapshot, and a digest of what a Side holds."""

    position: int
    digest: bytes


def marks(unit: ReadUnit, snapshot_id: str) -> dict[Key, Mark]:
    """The marks of a snapshot's examples by the digest of their text's key."""
    found: dict[Key, Mark] = {}
    last = -1
    while rows := unit.execute(
        _rows(snapshot_id)
        .where(_example.c.position > last)
        .order_by(_example.c.position)
        .limit(BATCH)
    ).all():
        for row in rows:
            whole = [row.input, row.target, row.split, row.weight, row.quality]
            found[_digest(_key(row).encode("utf-8", "surrogatepass"))] = Mark(
                row.position, _digest(canonical_json(whole))
            )
        last = rows[-1].position
    return found


def sides(
    unit: ReadUnit, snapshot_id: str, positions: Sequence[int]
) -> dict[int, tuple[str, Side]]:
    """The examples at those places, at most ``BATCH``: the key of the text, and the example."""
    rows = unit.execute(_rows(snapshot_id).where(_example.c.position.in_(positions)))
    return {row.position: (_key(row), _side(row)) for row in rows}


def in_batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """So many of them at a time as may be in memory at once."""
    for start in range(0, len(items), BATCH):
        yield items[start : start + BATCH]


def _rows(snapshot_id: str) -> Select[Any]:
    return select(
        _example.c.position,
        _example.c.input,
        _example.c.target,
        _example.c.split,
        _example.c.weight,
        _example.c.quality,
        _example.c.content_hash,
    ).where(_example.c.snapshot_id == snapshot_id)


def _key(row: Row[Any]) -> str:
    """Two examples are the same text when their normalised inputs are equal; erased ones when they
    had the same content."""
    if isinstance(row.input, str):
        return "text " + normalise(row.input)
    return "erased " + str(row.content_hash)


def _side(row: Row[Any]) -> Side:
    return Side(
        input=row.input,
        target=row.target,
        split=row.split,
        weight=row.weight,
        quality=row.quality,
    )


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).digest()
