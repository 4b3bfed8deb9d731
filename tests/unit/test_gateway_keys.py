"""Keys: shown once, found by hash, closed for good."""

from __future__ import annotations

import re

import pytest
from sqlalchemy import select, update

from inhouse.core.errors import Denied, Invalid, NotFound, Unauthenticated
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.gateway.keys import (
    GRANTS,
    Key,
    KeyRing,
    Permission,
    Role,
    create,
    declare_limits,
    get,
    list_keys,
    revoke,
    set_limits,
)
from inhouse.gateway.tables import ApiKey
from inhouse.settings import LimitSettings
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


def test_a_key_has_the_limits_that_it_was_given(database: Database, clock: FrozenClock) -> None:
    limits = LimitSettings(requests_per_minute=60, cost_per_day=2.5, on_limit="throttle")
    with database.write() as unit:
        key_id, _ = create(unit, "app", Role.APPLICATION, clock.now(), limits)
        create(unit, "free", Role.APPLICATION, clock.now(), LimitSettings())
        key, free = list_keys(unit)
        assert (key.limits, key.unread, free.limits) == (limits, (), None)
        set_limits(unit, key_id, LimitSettings(tokens_per_day=7))
        assert get(unit, key_id).limits == LimitSettings(tokens_per_day=7)
        set_limits(unit, key_id, None)
        assert get(unit, key_id).limits is None


def test_only_keys_that_exist_are_limited(database: Database) -> None:
    with pytest.raises(NotFound) as caught, database.write() as unit:
        set_limits(unit, "nothing", LimitSettings(tokens_per_day=7))
    assert caught.value.code == "key-not-found"


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"requests_per_hour": 1}, "requests_per_hour: unknown limit"),
        ({"requests_per_day": 0}, "requests_per_day: Input should be greater than or equal to 1"),
        ({"requests_per_day": 1.5}, "requests_per_day: Input should be a valid integer"),
        ({"cost_per_day": -1}, "cost_per_day: Input should be greater than 0"),
        ({"cost_per_day": float("nan")}, "cost_per_day: a limit is a number"),
        ({"cost_per_day": float("inf")}, "cost_per_day: a limit is a number"),
        ({"tokens_per_day": 10**400}, "tokens_per_day: a limit is a number"),
        ({"on_limit": "explode"}, "on_limit: Input should be 'refuse', 'throttle' or 'warn'"),
        ({"warn_at": 1.01}, "warn_at: Input should be less than or equal to 1"),
    ],
)
def test_bad_limits_are_named(values: dict[str, object], says: str) -> None:
    with pytest.raises(Invalid) as caught:
        declare_limits(values)
    assert caught.value.code == "key-limits"
    assert caught.value.message.startswith(says)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("stored", "limits", "unread"),
    [
        ({"requests_per_day": 5, "moons_per_day": 2}, {"requests_per_day": 5}, ("moons_per_day",)),
        ({"requests_per_day": "many", "warn_at": 0.5}, {"warn_at": 0.5}, ("requests_per_day",)),
        ({"on_limit": ["refuse"]}, None, ("on_limit",)),
        (["requests_per_day"], None, ("limits",)),
        ({}, None, ()),
    ],
)
def test_limits_that_cannot_be_read_are_left_out_and_marked(
    database: Database, clock: FrozenClock, stored: object, limits: object, unread: tuple[str, ...]
) -> None:
    ring = KeyRing(database)
    with database.write() as unit:
        key_id, key = create(unit, "old", Role.APPLICATION, clock.now())
        _, other = create(unit, "app", Role.VIEWER, clock.now(), LimitSettings(tokens_per_day=3))
        row = update(table_of(ApiKey)).where(table_of(ApiKey).c.id == key_id)
        unit.execute(row.values(limits=stored))
    ring.refresh()
    found = ring.find(key)
    assert found.limits == (None if limits is None else LimitSettings.model_validate(limits))
    assert found.unread == unread
    assert ring.find(other).limits == LimitSettings(tokens_per_day=3)
    assert len(ring.all()) == 2
