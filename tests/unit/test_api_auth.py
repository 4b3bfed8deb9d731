"""Who may ask what: keys, roles, and the rule of the open server."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.api.auth import Access, is_loopback
from inhouse.core.errors import Denied, Unauthenticated
from inhouse.db.unit import Database
from inhouse.gateway.keys import KeyRing, Permission, Role, create, revoke
from inhouse.testing.clock import FrozenClock


def scope(client: str = "127.0.0.1", **headers: str) -> dict[str, Any]:
    pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
    return {"client": (client, 5000), "headers": pairs}


@pytest.fixture
def ring(sqlite_database: Database) -> KeyRing:
    return KeyRing(sqlite_database)


@pytest.fixture
def access(ring: KeyRing) -> Access:
    return Access(ring)


def make(database: Database, ring: KeyRing, role: Role) -> tuple[str, str]:
    with database.write() as unit:
        made = create(unit, f"the {role}", role, FrozenClock().now())
    ring.refresh()
    return made


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.0.1", "::1"])
@pytest.mark.parametrize("host", ["127.0.0.1:8040", "localhost:8040", "[::1]:8040", "localhost"])
def test_without_keys_this_machine_may_do_everything(
    access: Access, client: str, host: str
) -> None:
    for permission in Permission:
        principal = access.require(scope(client, host=host), permission)
        assert (principal.key_id, principal.actor) == (None, "local")


def test_without_keys_another_machine_may_do_nothing(access: Access) -> None:
    with pytest.raises(Unauthenticated, match="only this machine"):
        access.require(scope("192.0.2.1", host="localhost"), Permission.CALL)


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},
        {"host": "evil.example:8040"},
        {"host": "localhost.evil.example"},
        {"host": ""},
        {"host": "[bad"},
        {"host": "localhost:8040", "origin": "http://evil.example"},
        {"host": "localhost:8040", "origin": "null"},
        {"host": "localhost:8040", "origin": "http://localhost:9999"},
    ],
)
def test_without_keys_a_foreign_page_may_do_nothing(
    access: Access, headers: dict[str, str]
) -> None:
    with pytest.raises(Denied) as caught:
        access.require(scope(**headers), Permission.READ)
    assert caught.value.code == "foreign-origin"


def test_without_keys_our_own_page_may_ask(access: Access) -> None:
    access.require(scope(host="localhost:8040", origin="http://localhost:8040"), Permission.OPERATE)


@pytest.mark.parametrize("sent", [{}, {"authorization": "Basic eDp5"}, {"authorization": "Bearer"}])
def test_with_a_key_everybody_needs_one(
    sqlite_database: Database, ring: KeyRing, access: Access, sent: dict[str, str]
) -> None:
    make(sqlite_database, ring, Role.ADMIN)
    with pytest.raises(Unauthenticated) as caught:
        access.require(scope(host="localhost", **sent), Permission.CALL)
    assert "inhouse keys create" in caught.value.hint


def test_a_key_may_what_its_role_may(
    sqlite_database: Database, ring: KeyRing, access: Access
) -> None:
    key_id, key = make(sqlite_database, ring, Role.APPLICATION)
    asking = scope("192.0.2.1", authorization=f"Bearer {key}")
    principal = access.require(asking, Permission.CALL)
    assert (principal.key_id, principal.actor) == (key_id, "the application")
    with pytest.raises(Denied) as caught:
        access.require(asking, Permission.READ)
    assert (caught.value.status, caught.value.code) == (403, "role")


def test_the_scheme_is_read_in_any_case(
    sqlite_database: Database, ring: KeyRing, access: Access
) -> None:
    _, key = make(sqlite_database, ring, Role.VIEWER)
    access.require(scope(authorization=f"bearer {key}"), Permission.READ)


def test_a_revoked_key_opens_nothing(
    sqlite_database: Database, ring: KeyRing, access: Access
) -> None:
    make(sqlite_database, ring, Role.ADMIN)
    key_id, key = make(sqlite_database, ring, Role.VIEWER)
    with sqlite_database.write() as unit:
        revoke(unit, key_id, FrozenClock().now())
    ring.refresh()
    with pytest.raises(Unauthenticated, match="unknown or revoked"):
        access.require(scope(authorization=f"Bearer {key}"), Permission.READ)


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("::1", True), ("0.0.0.0", False), ("::", False), ("a.example", False)],
)
def test_loopback(host: str, *, expected: bool) -> None:
    assert is_loopback(host) is expected
