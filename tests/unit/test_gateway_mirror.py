"""Copies of routes and keys in memory: fresh within a second, kept when the database is gone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from inhouse.core.errors import InhouseError, Unauthenticated
from inhouse.db.unit import Database, ReadUnit
from inhouse.gateway.keys import KeyRing, Role, create, revoke
from inhouse.gateway.mirror import Mirror, Poller
from inhouse.gateway.table import RouteTable
from inhouse.registry import routes
from inhouse.settings import Settings
from inhouse.tasks.catalog import Catalog, load_catalog
from inhouse.testing.clock import FrozenClock

PATIENCE_S = 30.0
"""Enough on any machine; that it takes 0.25 s is for a benchmark to show."""


def wait_for(condition: Callable[[], bool], within_s: float) -> float:
    """Seconds until the condition holds; fails when it does not in time."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < within_s, "too late"
        time.sleep(0.005)
    return time.monotonic() - started


@pytest.fixture
def catalog() -> Catalog:
    declared = {"builtin": "sentiment", "chain": ["embedded/a", "embedded/b"]}
    return load_catalog(Settings(tasks={"mood": declared, "tone": declared}))


def append(database: Database, clock: FrozenClock, weight_bp: int) -> None:
    with database.write() as unit:
        seen = routes.current(unit, "mood") or routes.implicit("mood", ("embedded/a",))
        moved = replace(seen, candidate="mood@1", weight_bp=weight_bp)
        routes.append(unit, moved, expect=seen.revision, at=clock.now())


def test_tasks_that_were_never_moved_have_their_declared_chain(
    database: Database, catalog: Catalog, clock: FrozenClock
) -> None:
    table = RouteTable(database, catalog, warm=str)
    append(database, clock, 500)
    table.refresh()
    assert table.get("tone").revision == 0
    assert table.get("tone").chain == ("embedded/a", "embedded/b")
    assert (table.get("mood").revision, table.get("mood").weight_bp) == (1, 500)


def test_tasks_of_another_catalog_are_there_before_they_are_asked_for(
    database: Database, catalog: Catalog
) -> None:
    table = RouteTable(database, catalog, warm=str)
    spec = replace(catalog.get("tone"), name="fresh")
    table.redeclare(Catalog([*catalog.all(), spec]))
    assert table.get("fresh").chain == spec.chain


def test_a_candidate_that_dies_of_anything_on_load_does_not_stop_the_routes(
    sqlite_database: Database, catalog: Catalog, clock: FrozenClock
) -> None:
    opened: list[str] = []

    def dies(reference: str) -> None:
        opened.append(reference)
        raise MemoryError(reference)

    table = RouteTable(sqlite_database, catalog, warm=dies)
    append(sqlite_database, clock, 500)
    table.refresh()
    append(sqlite_database, clock, 0)
    table.refresh()
    assert opened == ["mood@1"]
    assert (table.get("mood").revision, table.get("mood").weight_bp) == (2, 0)


def refused(ring: KeyRing, key: str) -> bool:
    try:
        ring.find(key)
    except Unauthenticated:
        return True
    return False


def test_a_commit_comes_into_force_by_itself(
    database: Database, catalog: Catalog, clock: FrozenClock
) -> None:
    table, ring = RouteTable(database, catalog, warm=str), KeyRing(database)
    poller = Poller([table.mirror, ring.mirror])
    poller.start()
    try:
        append(database, clock, 1_000)
        wait_for(lambda: table.get("mood").weight_bp == 1_000, PATIENCE_S)
        append(database, clock, 0)
        wait_for(lambda: table.get("mood").revision == 2, PATIENCE_S)
        with database.write() as unit:
            key_id, key = create(unit, "app", Role.APPLICATION, clock.now())
        wait_for(lambda: len(ring) == 1, PATIENCE_S)
        with database.write() as unit:
            revoke(unit, key_id, clock.now())
        wait_for(lambda: refused(ring, key), PATIENCE_S)
    finally:
        poller.stop()


def test_a_database_that_is_gone_leaves_the_last_copy(
    tmp_path: Path, sqlite_database: Database, catalog: Catalog, clock: FrozenClock
) -> None:
    append(sqlite_database, clock, 700)
    table = RouteTable(sqlite_database, catalog, warm=str)
    table.mirror.poll()
    assert not table.stale
    sqlite_database.close()
    path, aside = tmp_path / "inhouse.db", tmp_path / "aside.db"
    path.rename(aside)
    path.mkdir()
    table.mirror.poll()
    assert table.stale
    assert table.get("mood").weight_bp == 700
    with pytest.raises(InhouseError):
        table.refresh()
    path.rmdir()
    aside.rename(path)
    table.mirror.poll()
    assert not table.stale


def test_an_older_look_never_replaces_a_newer_one(sqlite_database: Database) -> None:
    entered, go_on = threading.Event(), threading.Event()
    looks = iter([1, 2])

    def load(_: ReadUnit) -> int:
        look = next(looks)
        if look == 1:
            entered.set()
            assert go_on.wait(30)
        return look

    mirror = Mirror(sqlite_database, load, name="test", initial=0)
    slow = threading.Thread(target=mirror.poll)
    slow.start()
    assert entered.wait(30)
    fast = threading.Thread(target=mirror.refresh)
    fast.start()
    go_on.set()
    slow.join()
    fast.join()
    assert mirror.value == 2
