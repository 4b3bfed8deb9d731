"""Keys: shown once, found by hash, closed for good."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select

from inhouse.core.errors import Denied, Invalid, NotFound, Unauthenticated
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.gateway.keys import GRANTS, Key, KeyRing, Permission, Role, create, list_keys, revoke
from inhouse.gateway.tables import ApiKey
from inhouse.testing.clock import FrozenClock


def test_a_key_opens_until_it_is_revoked(database: Database, clock: FrozenClock) -> None:
    ring = KeyRing(database)
    with database.write() as unit:
        key_id, key = create(unit, "news app", Role.APPLICATION, clock.now())
        _, other = create(unit, "me", Role.ADMIN, clock.now())
    ring.refresh()
    found = ring.find(key)
    assert (found.id, found.name, found.role) == (key_id, "news app", Role.APPLICATION)
    assert found.created_at == clock.now()
    with database.write() as unit:
        revoke(unit, key_id, clock.now())
    ring.refresh()
    with pytest.raises(Unauthenticated):
        ring.find(key)
    assert ring.find(other).role is Role.ADMIN
    assert len(ring) == 2, "a revoked key still says that there was one"


def test_the_key_itself_is_nowhere(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        _, key = create(unit, "app", Role.APPLICATION, clock.now())
        (row,) = unit.execute(select(table_of(ApiKey))).all()
    assert re.fullmatch(r"ih_[A-Za-z0-9_-]{43}", key)
    assert not any(key in str(value) or key[3:] in str(value) for value in row)


def test_revoking_keeps_the_first_time(database: Database, clock: FrozenClock) -> None:
    with database.write() as unit:
        key_id, _ = create(unit, "app", Role.VIEWER, clock.now())
        first = clock.now()
        revoke(unit, key_id, first)
        clock.advance(60)
        revoke(unit, key_id, clock.now())
        (key,) = list_keys(unit)
    assert key.revoked_at == first


def test_only_keys_that_exist_are_revoked(database: Database, clock: FrozenClock) -> None:
    with pytest.raises(NotFound) as caught, database.write() as unit:
        revoke(unit, "nothing", clock.now())
    assert caught.value.code == "key-not-found"


@pytest.mark.parametrize("name", ["", "x" * 129, "two\nlines"])
def test_a_key_has_a_name(sqlite_database: Database, clock: FrozenClock, name: str) -> None:
    with pytest.raises(Invalid), sqlite_database.write() as unit:
        create(unit, name, Role.VIEWER, clock.now())
    with sqlite_database.read() as unit:
        assert list_keys(unit) == []


@pytest.mark.parametrize("presented", ["", "ih_", "\ud800", "ih_" + "A" * 43, "x" * 10_000])
def test_anything_else_opens_nothing(sqlite_database: Database, presented: str) -> None:
    with pytest.raises(Unauthenticated):
        KeyRing(sqlite_database).find(presented)


def test_roles_open_what_the_table_says(sqlite_database: Database, clock: FrozenClock) -> None:
    with sqlite_database.write() as unit:
        for role in Role:
            create(unit, role, role, clock.now())
        keys = {key.role: key for key in list_keys(unit)}
    granted = {
        role: [permission for permission in Permission if _may(keys[role], permission)]
        for role in Role
    }
    assert granted == {
        Role.APPLICATION: ["call"],
        Role.VIEWER: ["call", "read"],
        Role.REVIEWER: ["call", "read", "review"],
        Role.OPERATOR: ["call", "read", "review", "operate"],
        Role.ADMIN: ["call", "read", "review", "operate", "administer"],
    }
    assert set(GRANTS) == set(Role)


def _may(key: Key, permission: Permission) -> bool:
    try:
        key.require(permission)
    except Denied:
        return False
    return True
