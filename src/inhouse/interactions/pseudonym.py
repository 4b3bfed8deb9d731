"""Names of people and documents as salted hashes: the database never holds the names themselves."""

from __future__ import annotations

from hashlib import blake2b

_BYTES = 16


def pseudonym(salt: bytes, name: str) -> str:
    """32 hex characters: BLAKE2b of a unit's or subject's name, keyed with the installation's salt.

    The same name has the same pseudonym in one installation and another one in the next. ``salt``
    holds at most 64 bytes. A name may be any text, lone surrogates included.
    """
    encoded = name.encode("utf-8", "surrogatepass")
    return blake2b(encoded, key=salt, digest_size=_BYTES).hexdigest()
