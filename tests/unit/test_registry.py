"""Versions and routes on both dialects."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from inhouse.core.errors import Conflict, Invalid, NotFound
from inhouse.core.states import VersionStatus
from inhouse.db.unit import Database, WriteUnit
from inhouse.registry import move, routes, versions
from inhouse.registry.versions import Version
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.clock import FrozenClock

SPEC = TaskSpec(
    name="sentiment",
    kind=TaskKind.CHOICE,
    description="",
    labels=("negative", "positive"),
    prompt="{{ input }}",
    chain=("embedded/general",),
)


def _register(unit: WriteUnit, clock: FrozenClock, run_id: str | None = None) -> Version:
    return versions.register(
        unit,
        task="sentiment",
        task_revision=SPEC.revision,
        artifact="sentiment",
        store_version="20260101T000000Z-0badcafe",
        manifest_digest="sha256:00",
        recipe="encoder-head.v1",
        run_id=run_id,
        snapshot_id=None,
        at=clock.now(),
    )


def test_versions_are_numbered_per_task_and_entered_once_per_run(
    database: Database, clock: FrozenClock
) -> None:
    with database.write() as unit:
        first = _register(unit, clock, run_id="run-1")
        again = _register(unit, clock, run_id="run-1")
        second = _register(unit, clock)
    assert first == again
    assert (first.reference, second.reference) == ("sentiment@1", "sentiment@2")
    assert first.status is VersionStatus.CANDIDATE
    assert first.created_at == clock.now()


def test_status_moves_only_along_its_table(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        version = _register(unit, clock)
        rejected = versions.set_status(
            unit, version.id, VersionStatus.REJECTED, by="gate", why="worse", at=clock.now()
        )
    assert rejected.rejected == {"by": "gate", "why": "worse", "at": clock.now().isoformat()}
    with database.write() as unit, pytest.raises(Conflict, match="cannot become active"):
        versions.set_status(unit, version.id, VersionStatus.ACTIVE, by="x", why="y", at=clock.now())
    with database.write() as unit, pytest.raises(Conflict, match="rejected"):
        move.set_weight(
            unit, SPEC, candidate="sentiment@1", percent=10, actor="x", reason="", at=clock.now()
        )


def test_a_route_moves_by_appended_revisions(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        version = _register(unit, clock)
        ten = move.set_weight(
            unit,
            SPEC,
            candidate="sentiment@1",
            percent=10,
            actor="ann",
            reason="try",
            at=clock.now(),
        )
        full = move.set_weight(
            unit, SPEC, candidate=None, percent=100, actor="ann", reason="good", at=clock.now()
        )
        assert versions.by_id(unit, version.id).status is VersionStatus.ACTIVE
        back = move.rollback(unit, SPEC, actor="ann", reason="test", at=clock.now())
    assert [ten.revision, full.revision, back.revision] == [1, 2, 3]
    assert (ten.weight_bp, full.weight_bp, back.weight_bp) == (1000, 10_000, 0)
    assert ten.salt == full.salt == back.salt
    assert back.incumbent == "embedded/general"
    with database.read() as unit:
        assert routes.current(unit, "sentiment") == back
        assert routes.all_current(unit) == [back]
        assert [r.revision for r in routes.history(unit, "sentiment")] == [3, 2, 1]
    with database.write() as unit, pytest.raises(Conflict, match="already answers"):
        move.rollback(unit, SPEC, actor="ann", reason="", at=clock.now())


def test_a_version_of_another_task_revision_gets_no_traffic(
    database: Database, clock: FrozenClock
) -> None:
    other = replace(SPEC, labels=("bad", "good"))
    with database.write() as unit:
        _register(unit, clock)
    with database.write() as unit, pytest.raises(Conflict, match="another revision"):
        move.set_weight(
            unit, other, candidate="sentiment@1", percent=10, actor="", reason="", at=clock.now()
        )
    with database.write() as unit, pytest.raises(NotFound):
        move.set_weight(
            unit, SPEC, candidate="sentiment@7", percent=10, actor="", reason="", at=clock.now()
        )
    with database.write() as unit, pytest.raises(Invalid, match="between 0 and 100"):
        move.set_weight(
            unit, SPEC, candidate="sentiment@1", percent=101, actor="", reason="", at=clock.now()
        )
    with database.read() as unit:
        assert routes.current(unit, "sentiment") is None


def test_of_many_who_move_a_route_at_once_one_wins(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        _register(unit, clock)
    outcomes: list[str] = []

    def promote() -> None:
        try:
            with database.write() as unit:
                move.set_weight(
                    unit,
                    SPEC,
                    candidate="sentiment@1",
                    percent=100,
                    actor="x",
                    reason="",
                    at=clock.now(),
                    expect=0,
                )
            outcomes.append("won")
        except Conflict:
            outcomes.append("lost")

    threads = [threading.Thread(target=promote) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost"] * 11 + ["won"]
