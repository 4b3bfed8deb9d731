"""API keys and what they open.

| role        | call | read | review | operate | administer |
|-------------|------|------|--------|---------|------------|
| application | yes  |      |        |         |            |
| viewer      | yes  | yes  |        |         |            |
| reviewer    | yes  | yes  | yes    |         |            |
| operator    | yes  | yes  | yes    | yes     |            |
| admin       | yes  | yes  | yes    | yes     | yes        |

A key is 256 random bits. The database holds its SHA-256, so a copy of the database opens nothing,
and finding a key takes one look-up of that hash, whatever was presented.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

import msgspec
from pydantic import ValidationError
from sqlalchemy import Row, insert, select, update

from inhouse.core.errors import Denied, Invalid, NotFound, Unauthenticated
from inhouse.core.hashing import canonical_json
from inhouse.core.ids import KeyId, new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.gateway.mirror import Mirror
from inhouse.gateway.tables import ApiKey
from inhouse.settings import LimitSettings

PREFIX: Final = "ih_"
LONGEST_NAME: Final = 128
_BYTES: Final = 32
_MOST: Final = 10**15
"""Of any limit: whole numbers up to it survive every JSON reader."""
_table = table_of(ApiKey)
_ALL = select(_table)
"""Made once: every process asks it four times a second."""


class Role(StrEnum):
    """Who a key is for; each role may do what those above it in the table may."""

    APPLICATION = "application"
    VIEWER = "viewer"
    REVIEWER = "reviewer"
    OPERATOR = "operator"
    ADMIN = "admin"


class Permission(StrEnum):
    """``call``: tasks, chats, feedback on calls whose id is known. ``read``: what is recorded and
    decided. ``review``: corrections of any call. ``operate``: data sets, training, routes,
    rollouts. ``administer``: keys and deletion."""

    CALL = "call"
    READ = "read"
    REVIEW = "review"
    OPERATE = "operate"
    ADMINISTER = "administer"


_VIEWER: Final = frozenset({Permission.CALL, Permission.READ})
GRANTS: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.APPLICATION: frozenset({Permission.CALL}),
    Role.VIEWER: _VIEWER,
    Role.REVIEWER: _VIEWER | {Permission.REVIEW},
    Role.OPERATOR: _VIEWER | {Permission.REVIEW, Permission.OPERATE},
    Role.ADMIN: frozenset(Permission),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key without the key: who it is for, whether it still opens anything, what it may use up.

    ``limits`` is None when nothing is limited. ``unread`` names stored limits that this version
    does not know or cannot read, and does not hold.
    """

    id: KeyId
    name: str
    role: Role
    created_at: datetime
    revoked_at: datetime | None
    limits: LimitSettings | None = None
    unread: tuple[str, ...] = ()

    def require(self, permission: Permission) -> None:
        """Raise Denied (code ``role``) unless the key's role has the permission."""
        if permission not in GRANTS[self.role]:
            able = ", ".join(role for role, grants in GRANTS.items() if permission in grants)
            raise Denied(
                f"a key with role {self.role} may not {permission}",
                code="role",
                hint=f"take a key with one of the roles {able}",
            )


def create(
    unit: WriteUnit, name: str, role: Role, at: datetime, limits: LimitSettings | None = None
) -> tuple[KeyId, str]:
    """Make a key. Returns its id and the key itself (``ih_`` and 43 characters), which nobody can
    read again. Raises Invalid (code ``key-name``) for a name that is empty, longer than 128
    characters or not printable."""
    if not 1 <= len(name) <= LONGEST_NAME or not name.isprintable():
        raise Invalid(
            f"the name of a key has 1 to {LONGEST_NAME} printable characters", code="key-name"
        )
    key_id, key = KeyId(new_id()), PREFIX + secrets.token_urlsafe(_BYTES)
    row = {"id": key_id, "name": name, "role": role, "digest": _digest(key), "created_at": at}
    unit.execute(insert(_table).values(**row, limits=_stored(limits)))
    return key_id, key


def declare_limits(values: Mapping[str, Any]) -> LimitSettings:
    """Limits from their fields. Raises Invalid (code ``key-limits``) for a field that there is not,
    or a value that is no limit."""
    for name, value in values.items():
        if isinstance(value, int | float) and not -_MOST <= value <= _MOST:
            raise Invalid(f"{name}: a limit is a number up to {_MOST:.0e}", code="key-limits")
    try:
        return LimitSettings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        reason = "unknown limit" if first["type"] == "extra_forbidden" else first["msg"]
        raise Invalid(f"{field}: {reason}", code="key-limits") from None


def set_limits(unit: WriteUnit, key_id: str, limits: LimitSettings | None) -> None:
    """Replace the limits of a key; None removes them all. A running server follows within a second.
    Raises NotFound (code ``key-not-found``)."""
    get(unit, key_id)
    changed = update(_table).where(_table.c.id == key_id).values(limits=_stored(limits))
    unit.execute(changed)


def get(unit: ReadUnit, key_id: str) -> Key:
    """One key, revoked or not. Raises NotFound (code ``key-not-found``)."""
    row = unit.execute(select(_table).where(_table.c.id == key_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no key {key_id!r}", code="key-not-found", hint="see `inhouse keys list`"
        )
    return _key(row)


def revoke(unit: WriteUnit, key_id: str, at: datetime) -> None:
    """Close a key for good; a key that is revoked keeps the time of its first revocation. Raises
    NotFound (code ``key-not-found``)."""
    active = (_table.c.id == key_id) & _table.c.revoked_at.is_(None)
    unit.execute(update(_table).where(active).values(revoked_at=at))
    get(unit, key_id)


def list_keys(unit: ReadUnit) -> list[Key]:
    """Every key, revoked ones too, oldest first."""
    return [_key(row) for row in unit.execute(select(_table).order_by(_table.c.id))]


def load_all(unit: ReadUnit) -> Mapping[str, Key]:
    """Every key by digest, revoked ones too."""
    return {row.digest: _key(row) for row in unit.execute(_ALL)}


class KeyRing:
    """The keys, in memory. A revoked key stops at most 0.25 s after the commit, plus one query;
    ``mirror`` is what a ``Poller`` polls.

    ``len`` counts revoked keys too: once there was a key, a server never opens to everybody again.
    """

    def __init__(self, database: Database) -> None:
        self.mirror: Mirror[Mapping[str, Key]] = Mirror(database, load_all, name="keys", initial={})

    def refresh(self) -> None:
        """Take over what was just committed. Raises what the database raises."""
        self.mirror.refresh()

    def __len__(self) -> int:
        return len(self.mirror.value)

    def all(self) -> list[Key]:
        """Every key, revoked ones too."""
        return list(self.mirror.value.values())

    def find(self, presented: str) -> Key:
        """The key that was presented. Raises Unauthenticated (code ``unauthenticated``) when it is
        none of ours or revoked."""
        key = self.mirror.value.get(_digest(presented))
        if key is None or key.revoked_at is not None:
            raise Unauthenticated(
                "the key is unknown or revoked", hint="make one with `inhouse keys create`"
            )
        return key


def _digest(key: str) -> str:
    return sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: Row[Any]) -> Key:
    limits, unread = _NO_LIMITS if row.limits is None else _read(canonical_json(row.limits))
    return Key(
        id=row.id,
        name=row.name,
        role=Role(row.role),
        created_at=row.created_at,
        revoked_at=row.revoked_at,
        limits=limits,
        unread=unread,
    )


_NO_LIMITS: Final[tuple[LimitSettings | None, tuple[str, ...]]] = (None, ())


def _stored(limits: LimitSettings | None) -> dict[str, Any] | None:
    return None if limits is None else limits.model_dump(exclude_defaults=True) or None


@lru_cache(maxsize=4096)
def _read(stored: bytes) -> tuple[LimitSettings | None, tuple[str, ...]]:
    """Limits as they are stored, and the names of those that cannot be read: one of them must not
    keep a server from its other keys. The same limits are the same object every time."""
    values = msgspec.json.decode(stored)
    if not isinstance(values, dict):
        return None, ("limits",)
    good: dict[str, Any] = {}
    unread: list[str] = []
    for name, value in values.items():
        try:
            good |= declare_limits({name: value}).model_dump(exclude_unset=True)
        except Invalid:
            unread.append(name)
    return LimitSettings(**good) if good else None, tuple(unread)
