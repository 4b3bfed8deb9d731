"""Looking into a snapshot, on both dialects."""

from __future__ import annotations

import pytest

from inhouse.core.ids import new_id
from inhouse.datasets import browse
from inhouse.datasets.tables import Snapshot, SnapshotExample
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.testing.clock import FrozenClock

ORIGINS = (
    {"kind": "correction", "interaction_id": "i", "feedback_ids": ["f"]},
    {"kind": "correction", "interaction_id": "j", "feedback_ids": ["f"]},
    {"kind": "import", "source": 'größe\'s "rows".jsonl', "row": 1},
)


@pytest.fixture
def snapshot_id(database: Database, clock: FrozenClock) -> str:
    snapshot = new_id()
    with database.write() as unit:
        unit.execute(
            table_of(Snapshot)
            .insert()
            .values(
                id=snapshot,
                task="mood",
                task_revision="r",
                content_hash="0" * 64,
                settings={},
                counts={},
                dropped={},
                created_at=clock.now(),
            )
        )
        rows = [
            {
                "snapshot_id": snapshot,
                "position": place,
                "split": "test" if place == 2 else "train",
                "input": f"text {place}",
                "target": {"label": "good" if place else 'it\'s "bad" ü'},
                "weight": 1.0,
                "quality": 1.0,
                "group_key": "g",
                "origin": origin,
                "content_hash": str(place),
            }
            for place, origin in enumerate(ORIGINS)
        ]
        unit.execute(table_of(SnapshotExample).insert(), rows)
    return snapshot


def test_sources_are_counted_by_name(database: Database, snapshot_id: str) -> None:
    with database.read() as unit:
        found = browse.sources(unit, snapshot_id)
    assert list(found.items()) == [("correction", 2), ('größe\'s "rows".jsonl', 1)]


def test_examples_of_a_split_and_of_a_label(database: Database, snapshot_id: str) -> None:
    with database.read() as unit:
        train = browse.examples(unit, snapshot_id, split="train", limit=1)
        odd = browse.examples(unit, snapshot_id, label='it\'s "bad" ü')
        rest = browse.examples(unit, snapshot_id, split="train", after=train.next or 0)
    assert ([one.position for one in train.items], train.next, train.total) == ([0], 0, 2)
    assert [one.position for one in odd.items] == [0]
    assert ([one.position for one in rest.items], rest.next, rest.total) == ([1], None, 2)
