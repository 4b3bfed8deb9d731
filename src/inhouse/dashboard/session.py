"""Somebody who showed a key to the pages: a row, named by the hash of a cookie's 256 random bits.

A session lasts 12 hours after the last page that was opened, and no longer than its key. The key
is looked up in memory at every request, so one that is revoked ends its sessions within a second.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Final

from sqlalchemy import delete, insert, select, update

from inhouse.core.clock import Clock
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.gateway.keys import Key, KeyRing
from inhouse.gateway.tables import PageSession

LASTS: Final = timedelta(hours=12)
_RENEWED_AFTER: Final = timedelta(hours=1)
"""A session is renewed at most once in this time, so that most pages only read."""
_BYTES: Final = 32
_table = table_of(PageSession)


def begin(unit: WriteUnit, key_id: str, at: datetime) -> str:
    """Open a session of a key, and drop those that ran out. Returns the cookie's value."""
    token = secrets.token_urlsafe(_BYTES)
    row = {"digest": _digest(token), "key_id": key_id, "created_at": at, "expires_at": at + LASTS}
    unit.execute(delete(_table).where(_table.c.expires_at <= at))
    unit.execute(insert(_table).values(**row))
    return token


def find(unit: ReadUnit, token: str, at: datetime) -> tuple[str, datetime] | None:
    """The key's id and the end of a session, None when it ran out or never was."""
    found = select(_table.c.key_id, _table.c.expires_at).where(_table.c.digest == _digest(token))
    row = unit.execute(found).one_or_none()
    return None if row is None or row.expires_at <= at else (row.key_id, row.expires_at)


def renew(unit: WriteUnit, token: str, at: datetime) -> None:
    """Let a session last 12 hours from now."""
    changed = update(_table).where(_table.c.digest == _digest(token))
    unit.execute(changed.values(expires_at=at + LASTS))


def end(unit: WriteUnit, token: str) -> None:
    """Close a session; one that is closed already stays so."""
    unit.execute(delete(_table).where(_table.c.digest == _digest(token)))


class Sessions:
    """The sessions of a server's pages."""

    def __init__(self, database: Database, keys: KeyRing, clock: Clock) -> None:
        self._database = database
        self._keys = keys
        self._clock = clock

    def begin(self, key: Key) -> str:
        """Open a session. Returns the cookie's value."""
        with self._database.write() as unit:
            return begin(unit, key.id, self._clock.now())

    def find(self, token: str, *, renews: bool = False) -> Key | None:
        """The key behind a cookie, None when the session is over. ``renews``: a use that prolongs
        the session."""
        now = self._clock.now()
        with self._database.read() as unit:
            found = find(unit, token, now)
        if found is None:
            return None
        key_id, expires_at = found
        key = next((key for key in self._keys.all() if key.id == key_id), None)
        if key is None or key.revoked_at is not None:
            return None
        if renews and expires_at - now < LASTS - _RENEWED_AFTER:
            with self._database.write() as unit:
                renew(unit, token, now)
        return key

    def end(self, token: str) -> None:
        """Close a session."""
        with self._database.write() as unit:
            end(unit, token)


def _digest(token: str) -> str:
    return sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
