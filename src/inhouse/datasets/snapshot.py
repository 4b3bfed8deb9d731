"""Freezing examples: what is arranged is named by its content and stored once."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, select, update

from inhouse.core.errors import Invalid, NotFound
from inhouse.core.hashing import digest_of
from inhouse.core.ids import is_id, new_id
from inhouse.datasets.arrange import Arranged, BuildSettings, arrange, encoder_of
from inhouse.datasets.curate import all_there, collect, count_authors
from inhouse.datasets.erase import DROPPED
from inhouse.datasets.example import Example, check_learnable
from inhouse.datasets.facts import counts_of, facts_of
from inhouse.datasets.near import OpenEncoder
from inhouse.datasets.tables import Snapshot, SnapshotExample
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.interactions.erase import ERASED
from inhouse.tasks.spec import TaskSpec

LATEST = "latest"
_snapshot = table_of(Snapshot)
_example = table_of(SnapshotExample)
_LAST_BUILT_FIRST = (
    func.coalesce(_snapshot.c.rebuilt_at, _snapshot.c.created_at).desc(),
    _snapshot.c.id.desc(),
)
_PREFIX = re.compile(r"[0-9a-f]{4,64}\Z")
_CHUNK = 1000
_SHORT = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRecord:
    """A snapshot without its examples.

    ``content_hash``: 64 hex characters. ``counts``: ``{"train", "valid", "test"}`` examples, and
    by split ``labels`` (a choice: examples by label) or ``values`` (a score: mean, min, max);
    ``near``: near repeats found, moved to another group, left out, disagreeing, and ``pairs`` of
    positions (the first 50) that disagree; ``facts``: see ``facts_of``. ``dropped``: what was left
    out, by reason. ``settings``: how it was built the first time. ``rebuilt_at``: when the same
    content was built again, the last time.
    """

    id: str
    task: str
    task_revision: str
    content_hash: str
    settings: Mapping[str, Any]
    counts: Mapping[str, Any]
    dropped: Mapping[str, int]
    created_at: datetime
    rebuilt_at: datetime | None = None

    @property
    def built_at(self) -> datetime:
        """When it was built last."""
        return self.rebuilt_at or self.created_at

    @property
    def short_hash(self) -> str:
        """The first 12 characters of the hash, enough to name it."""
        return self.content_hash[:_SHORT]


def build(
    unit: WriteUnit,
    spec: TaskSpec,
    *,
    settings: BuildSettings,
    at: datetime,
    open_encoder: OpenEncoder | None = None,
) -> SnapshotRecord:
    """Freeze what there is to learn from. The same content is stored once and returned again; what
    was erased of it since is there again then, for it came in anew.

    The hash covers the task, its revision, and every example's input, target, weight, quality and
    split; neither ids nor times nor order. No two texts that are near by ``settings.near`` are in
    different splits. ``open_encoder`` is called for the method ``embedding`` only. Raises Invalid
    (``no-examples``) that says what was dropped when nothing usable is left, for a chat that is
    passed through; Unavailable (``near-encoder``) when near repeats are to be found by meaning and
    nothing can.
    """
    encoder = encoder_of(settings.near, open_encoder)
    check_learnable(spec)
    while True:
        curated = collect(unit, spec, since=settings.since, until=settings.until)
        arranged = arrange(spec, curated, settings, encoder)
        if all_there(unit, arranged.examples):
            return _freeze(unit, spec, arranged, at)


def build_unlocked(
    database: Database,
    spec: TaskSpec,
    *,
    settings: BuildSettings,
    at: datetime,
    open_encoder: OpenEncoder | None = None,
) -> SnapshotRecord:
    """As ``build``, but nobody who writes waits while the examples are read and compared. When some
    of it is erased meanwhile, it begins anew."""
    encoder = encoder_of(settings.near, open_encoder)
    check_learnable(spec)
    while True:
        with database.read() as reading:
            curated = collect(reading, spec, since=settings.since, until=settings.until)
        arranged = arrange(spec, curated, settings, encoder)
        with database.write() as unit:
            if all_there(unit, arranged.examples):
                return _freeze(unit, spec, arranged, at)


def get(unit: ReadUnit, name: str, task: str | None = None) -> SnapshotRecord:
    """A snapshot by id, by the first 4 or more characters of its hash, or a task's ``latest``: the
    one that was built last.

    Raises NotFound (``snapshot-not-found``), Invalid (``snapshot-name``) for a prefix that several
    have and for ``latest`` without a task.
    """
    statement = select(_snapshot).order_by(*_LAST_BUILT_FIRST)
    if task is not None:
        statement = statement.where(_snapshot.c.task == task)
    if name == LATEST:
        if task is None:
            raise Invalid("latest of which task?", code="snapshot-name", hint="add --task NAME")
    elif is_id(name):
        statement = statement.where(_snapshot.c.id == name)
    elif _PREFIX.match(name):
        statement = statement.where(_snapshot.c.content_hash.startswith(name))
    else:
        raise Invalid(
            f"{name!r} names no snapshot",
            code="snapshot-name",
            hint="write its id, the first characters of its hash, or latest",
        )
    rows = unit.execute(statement.limit(2)).all()
    if not rows:
        raise NotFound(
            f"there is no snapshot {name}" + (f" of {task}" if task else ""),
            code="snapshot-not-found",
            hint="`inhouse dataset list` shows those there are",
        )
    if len(rows) > 1 and name != LATEST:
        raise Invalid(
            f"several snapshots begin with {name}", code="snapshot-name", hint="write more of it"
        )
    return _record(rows[0])


def list_snapshots(unit: ReadUnit, task: str | None = None) -> list[SnapshotRecord]:
    """Snapshots, the one that was built last first."""
    statement = select(_snapshot).order_by(*_LAST_BUILT_FIRST)
    if task is not None:
        statement = statement.where(_snapshot.c.task == task)
    return [_record(row) for row in unit.execute(statement)]


def load_examples(
    unit: ReadUnit, snapshot_id: str, splits: Collection[str] | None = None
) -> list[Example]:
    """The examples of a snapshot in its order, of these splits or of all, without those that were
    erased since."""
    statement = (
        select(_example)
        .where(_example.c.snapshot_id == snapshot_id, _example.c.input != ERASED)
        .order_by(_example.c.position)
    )
    if splits is not None:
        statement = statement.where(_example.c.split.in_(list(splits)))
    return [
        Example(
            input=row.input,
            target=row.target,
            weight=row.weight,
            quality=row.quality,
            group=row.group_key,
            split=row.split,
            origin=row.origin,
        )
        for row in unit.execute(statement)
    ]


def _freeze(unit: WriteUnit, spec: TaskSpec, arranged: Arranged, at: datetime) -> SnapshotRecord:
    examples = arranged.examples
    row = {
        "id": new_id(),
        "task": spec.name,
        "task_revision": spec.revision,
        "content_hash": _hash(spec, examples),
        "settings": dict(arranged.settings),
        "counts": {
            **counts_of(spec, examples),
            "near": dict(arranged.near),
            "facts": facts_of(examples, count_authors(unit, examples)),
        },
        "dropped": dict(arranged.dropped),
        "created_at": at,
    }
    unit.execute(insert_ignore(unit, Snapshot).values(**row))
    stored = _by_hash(unit, spec.name, str(row["content_hash"]))
    if stored.id != row["id"]:
        return _freeze_again(unit, stored.id, row, examples)
    _store_examples(unit, stored.id, examples)
    return stored


def _freeze_again(
    unit: WriteUnit, snapshot_id: str, row: Mapping[str, Any], examples: Sequence[Example]
) -> SnapshotRecord:
    """The snapshot that has this content, whole again where some of it was erased."""
    one = select(_snapshot).where(_snapshot.c.id == snapshot_id)
    stored = _record(unit.execute(one.with_for_update()).one())
    changes = {"rebuilt_at": row["created_at"]}
    if DROPPED in stored.dropped:
        unit.execute(delete(_example).where(_example.c.snapshot_id == snapshot_id))
        _store_examples(unit, snapshot_id, examples)
        changes |= {name: row[name] for name in ("counts", "dropped")}
    unit.execute(update(_snapshot).where(_snapshot.c.id == snapshot_id).values(changes))
    return _record(unit.execute(one).one())


def _store_examples(unit: WriteUnit, snapshot_id: str, examples: Sequence[Example]) -> None:
    for start in range(0, len(examples), _CHUNK):
        rows = [
            {
                "snapshot_id": snapshot_id,
                "position": position,
                "split": example.split,
                "input": example.input,
                "target": dict(example.target),
                "weight": example.weight,
                "quality": example.quality,
                "group_key": example.group,
                "origin": dict(example.origin),
                "content_hash": example.content_hash,
                "interaction_id": example.origin.get("interaction_id"),
                "imported_id": example.origin.get("imported_id"),
            }
            for position, example in enumerate(examples[start : start + _CHUNK], start)
        ]
        unit.execute(insert(_example), rows)


def _hash(spec: TaskSpec, examples: Sequence[Example]) -> str:
    content = sorted([example.content_hash, example.split] for example in examples)
    return digest_of({"task": spec.name, "revision": spec.revision, "examples": content})


def _by_hash(unit: ReadUnit, task: str, content_hash: str) -> SnapshotRecord:
    statement = select(_snapshot).where(
        _snapshot.c.task == task, _snapshot.c.content_hash == content_hash
    )
    return _record(unit.execute(statement).one())


def _record(row: Row[Any]) -> SnapshotRecord:
    return SnapshotRecord(**row._mapping)
