"""Sessions of the pages: as long as twelve hours of silence, and no longer than their key."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from inhouse.core.errors import Denied, Exhausted
from inhouse.dashboard import security
from inhouse.dashboard.access import Failures
from inhouse.dashboard.session import Sessions
from inhouse.db.unit import Database
from inhouse.gateway.keys import Key, KeyRing, Role, create, revoke
from inhouse.testing.clock import FrozenClock

HOUR = 3600.0


@pytest.fixture
def ring(database: Database) -> KeyRing:
    return KeyRing(database)


@pytest.fixture
def sessions(database: Database, ring: KeyRing, clock: FrozenClock) -> Sessions:
    return Sessions(database, ring, clock)


@pytest.fixture
def key(database: Database, ring: KeyRing, clock: FrozenClock) -> Key:
    with database.write() as unit:
        create(unit, "ada", Role.VIEWER, clock.now())
    ring.refresh()
    return ring.all()[0]


def test_a_session_lasts_twelve_hours(sessions: Sessions, key: Key, clock: FrozenClock) -> None:
    token = sessions.begin(key)
    clock.advance(12 * HOUR - 1)
    assert sessions.find(token) == key
    clock.advance(1)
    assert sessions.find(token) is None


def test_each_use_makes_it_last_longer(sessions: Sessions, key: Key, clock: FrozenClock) -> None:
    token = sessions.begin(key)
    for _ in range(5):
        clock.advance(10 * HOUR)
        assert sessions.find(token, renews=True) == key
    clock.advance(10 * HOUR)
    assert sessions.find(token) == key
    clock.advance(2 * HOUR)
    assert sessions.find(token) is None


def test_a_revoked_key_ends_it(
    sessions: Sessions, key: Key, ring: KeyRing, database: Database, clock: FrozenClock
) -> None:
    token = sessions.begin(key)
    with database.write() as unit:
        revoke(unit, key.id, clock.now())
    ring.refresh()
    assert sessions.find(token) is None


def test_a_session_can_be_ended_twice(sessions: Sessions, key: Key) -> None:
    token, other = sessions.begin(key), sessions.begin(key)
    sessions.end(token)
    sessions.end(token)
    assert (sessions.find(token), sessions.find(other)) == (None, key)
    assert sessions.find("nonsense \udc80") is None


def test_what_ran_out_is_dropped(
    sessions: Sessions, key: Key, database: Database, clock: FrozenClock
) -> None:
    sessions.begin(key)
    clock.advance(13 * HOUR)
    sessions.begin(key)
    with database.read() as unit:
        assert unit.execute(text("SELECT count(*) FROM page_session")).scalar_one() == 1


def test_wrong_keys_are_refused_for_a_while(clock: FrozenClock) -> None:
    failures = Failures(clock)
    for _ in range(10):
        failures.admit("192.0.2.1")
        failures.add("192.0.2.1")
        clock.advance(1)
    with pytest.raises(Exhausted) as raised:
        failures.admit("192.0.2.1")
    assert raised.value.retry_after == 50
    failures.admit("192.0.2.2")
    clock.advance(50)
    failures.admit("192.0.2.1")


@pytest.mark.parametrize(
    ("path", "safe"),
    [
        ("/tasks?x=1", "/tasks?x=1"),
        ("", "/"),
        ("tasks", "/"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("/a\nb", "/"),
    ],
)
def test_paths_to_go_on_to_stay_here(path: str, safe: str) -> None:
    assert security.safe_path(path) == safe


def test_tokens_of_forms_belong_to_a_session() -> None:
    one, other = security.csrf_token(b"s", "a"), security.csrf_token(b"s", "b")
    assert len({one, other, security.csrf_token(b"s", None), security.csrf_token(b"t", "a")}) == 4
    headers = {"host": "h:1", "origin": "http://h:1", "sec-fetch-site": "same-origin"}
    security.check_form(headers, one, one)
    with pytest.raises(Denied, match="out of date"):
        security.check_form(headers, "\udc80", one)
    with pytest.raises(Denied, match="foreign"):
        security.check_form({**headers, "origin": "http://[bad"}, one, one)
