"""Differences of snapshots: the same as a comparison of everything at once, page by page."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
from sqlalchemy import insert

from inhouse.core.errors import Invalid
from inhouse.core.ids import new_id
from inhouse.datasets import sides
from inhouse.datasets.dedupe import normalise
from inhouse.datasets.diff import FIELDS, WHATS, Change, compare
from inhouse.datasets.sides import Side
from inhouse.datasets.snapshot import SnapshotRecord, get
from inhouse.datasets.tables import Snapshot, SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.testing.clock import FrozenClock

Key = tuple[str, Any]


def freeze(database: Database, clock: FrozenClock, examples: Iterable[Side]) -> SnapshotRecord:
    """A snapshot of exactly these examples."""
    row = {
        "id": new_id(),
        "task": "mood",
        "task_revision": "r",
        "content_hash": new_id(),
        "settings": {},
        "counts": {},
        "dropped": {},
        "created_at": clock.now(),
    }
    with database.write() as unit:
        unit.execute(insert(table_of(Snapshot)).values(**row))
        for position, one in enumerate(examples):
            hashed = "text" if isinstance(one.input, str) else one.input["was"]
            kept = {name: getattr(one, name) for name in FIELDS}
            if not isinstance(one.input, str):
                kept["input"] = {"erased": True}
            unit.execute(
                insert(table_of(SnapshotExample)).values(
                    snapshot_id=row["id"],
                    position=position,
                    group_key="g",
                    origin={},
                    content_hash=hashed,
                    **kept,
                )
            )
        return get(unit, row["id"])


def side(text: Any, label: str = "good", **changes: Any) -> Side:
    fields = {"split": "train", "weight": 1.0, "quality": 1.0, **changes}
    return Side(input=text, target={"label": label}, **fields)


def some(random: Random, count: int) -> list[Side]:
    """Examples of a small world, so that two lots of them share many texts."""
    found = {}
    for _ in range(count):
        number = random.randrange(count)
        text = random.choice((f"Text {number}", f"text {number}!")) if number % 7 else None
        key = ("text", normalise(text)) if text else ("erased", number)
        found[key] = side(
            text or {"was": f"{number:04}"},
            random.choice(("good", "bad")),
            split=random.choice(("train", "test")),
            weight=random.choice((1.0, 0.5)),
            quality=random.choice((1.0, 0.25)),
        )
    return list(found.values())


def by_hand(before: list[Side], after: list[Side]) -> list[tuple[tuple[str, ...], str]]:
    """What changed and the key of its text, worked out over everything at once."""
    old, new = ({key_of(one): one for one in lot} for lot in (before, after))
    found = []
    for key in sorted(old.keys() | new.keys()):
        what = what_of(old.get(key), new.get(key))
        if what:
            found.append((what, key))
    return sorted(found, key=lambda one: WHATS.index(one[0][0]))


def key_of(one: Side) -> str:
    if isinstance(one.input, str):
        return "text " + normalise(one.input)
    return "erased " + one.input["was"]


def what_of(old: Side | None, new: Side | None) -> tuple[str, ...]:
    if old is None or new is None:
        return ("added",) if old is None else ("removed",)
    both_erased = not isinstance(old.input, str)
    return tuple(
        name
        for name in FIELDS
        if getattr(old, name) != getattr(new, name) and not (name == "input" and both_erased)
    )


def text_of(change: Change) -> str:
    one = change.after or change.before
    assert one is not None
    return "text " + normalise(one.input) if isinstance(one.input, str) else "erased"


def test_it_is_what_a_comparison_of_everything_finds(
    database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "BATCH", 7)
    random = Random(3)
    lots = [some(random, 60) for _ in range(2)]
    before, after = (freeze(database, clock, lot) for lot in lots)
    expected = by_hand(*lots)
    with database.read() as unit:
        found = compare(unit, before, after)
        shown = [(one.what, text_of(one)) for one in found.changes]
        assert shown == [(what, key if key[0] == "t" else "erased") for what, key in expected]
        assert {what[0] for what, _ in expected} >= {"target", "added", "removed", "split"}
        assert found.changed == found.matching == len(expected)
        assert found.same == len(set(map(key_of, [*lots[0], *lots[1]]))) - len(expected)
        for what in (None, *WHATS):
            whole = [one for one in found.changes if what is None or what in one.what]
            paged: list[Change] = []
            for start in range(0, len(whole) + 5, 5):
                part = compare(unit, before, after, what=what, start=start, limit=5)
                assert part.matching == len(whole)
                assert len(part.changes) <= 5
                assert (part.counts, part.labels, part.moves) == (
                    found.counts,
                    found.labels,
                    found.moves,
                )
                paged += part.changes
            assert paged == whole


def test_a_number_in_another_form_is_no_change(database: Database, clock: FrozenClock) -> None:
    before = freeze(database, clock, [Side(**{**plain(), "target": {"value": 1}})])
    after = freeze(database, clock, [Side(**{**plain(), "target": {"value": 1.0}})])
    with database.read() as unit:
        found = compare(unit, before, after)
    assert (found.same, found.changed) == (1, 0)


def plain() -> dict[str, Any]:
    return {name: getattr(side("a text"), name) for name in FIELDS}


def test_long_texts_are_not_all_held(
    sqlite_database: Database, clock: FrozenClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sides, "BATCH", 10)
    length, count = 5000, 400
    before, after = (
        freeze(
            sqlite_database,
            clock,
            (side(f"{number} " + "x" * length, label) for number in range(count)),
        )
        for label in ("good", "bad")
    )
    with sqlite_database.read() as unit:
        tracemalloc.start()
        found = compare(unit, before, after, limit=20)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert (found.changed, len(found.changes)) == (count, 20)
    assert peak < count * length


def test_what_cannot_change_is_refused(sqlite_database: Database, clock: FrozenClock) -> None:
    one = freeze(sqlite_database, clock, [side("a text")])
    with sqlite_database.read() as unit, pytest.raises(Invalid) as refused:
        compare(unit, one, one, what="colour")
    assert refused.value.code == "diff"
