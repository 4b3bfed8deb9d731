"""Names of people and documents as salted hashes: the database never holds the names themselves."""

from __future__ import annotations

from hashlib import blake2b

from sqlalchemy import select

from inhouse.db.dialects import table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import ReadUnit

_BYTES = 16
_meta = table_of(Meta)


def pseudonym(salt: bytes, name: str) -> str:
    """32 hex characters: BLAKE2b of a unit's or subject's name, keyed with the installation's salt.

    The same name has the same pseudonym in one installation and another one in the next. ``salt``
    holds at most 64 bytes. A name may be any text, lone surrogates included.
    """
    encoded = name.encode("utf-8", "surrogatepass")
    return blake2b(encoded, key=salt, digest_size=_BYTES).hexdigest()


def salt_of(unit: ReadUnit) -> bytes:
    """The salt of this installation; empty in one that never recorded a call."""
    found = unit.execute(select(_meta.c.value).where(_meta.c.name == "salt")).scalar_one_or_none()
    return bytes.fromhex(found or "")
