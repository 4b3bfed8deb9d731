"""Typed ids: UUIDv7 as 36 lower-case characters, so that they sort by time of creation.

The type tells what an id names; the value never does. ``new_id`` is on the gateway's hot path.
"""

from __future__ import annotations

import os
import threading
import time
from datetime import UTC, datetime
from typing import NewType
from uuid import UUID

from inhouse.core.errors import Invalid

InteractionId = NewType("InteractionId", str)
FeedbackId = NewType("FeedbackId", str)
ExampleId = NewType("ExampleId", str)
SnapshotId = NewType("SnapshotId", str)
RunId = NewType("RunId", str)
VersionId = NewType("VersionId", str)
EvaluationId = NewType("EvaluationId", str)
JobId = NewType("JobId", str)
KeyId = NewType("KeyId", str)

_VERSION = 7
_RANDOM_BYTES = 10
_DRAWN_AT_ONCE = 4_000
_lock = threading.Lock()
_last = 0
_drawn = b""
_place = 0


def new_id() -> str:
    """A fresh UUIDv7 (RFC 9562): 48 bits of Unix milliseconds, then 74 random bits.

    Ids made in one process are strictly increasing: a second one in the same millisecond takes the
    random part of the first plus a random step. The system's random bytes are drawn 4,000 at a
    time, and anew in a forked process.
    """
    global _last, _drawn, _place
    millis = time.time_ns() // 1_000_000
    with _lock:
        if _place >= len(_drawn):
            _drawn, _place = os.urandom(_DRAWN_AT_ONCE), 0
        ten = _drawn[_place : _place + _RANDOM_BYTES]
        _place += _RANDOM_BYTES
        random = int.from_bytes(ten, "big") & ((1 << 74) - 1)
        value = (millis << 74) | random
        if value <= _last:
            value = _last + 1 + (random & 0xFFFFFFFF)
        _last = value
    return _format(value)


def _begin_anew() -> None:
    """A forked process must not give out the ids of its parent."""
    global _lock, _drawn
    _lock, _drawn = threading.Lock(), b""


os.register_at_fork(after_in_child=_begin_anew)


def _format(value: int) -> str:
    high, low = value >> 62, value & ((1 << 62) - 1)
    bits = ((high >> 12) << 80) | (0x7 << 76) | ((high & 0xFFF) << 64) | (0b10 << 62) | low
    text = bits.to_bytes(16, "big").hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def created_at(identifier: str) -> datetime:
    """The time that a UUIDv7 carries, in UTC, to the millisecond.

    Raises Invalid (code ``id``) for what carries none: no UUIDv7, or one from behind the year 9999.
    """
    try:
        found = UUID(identifier)
        if found.version == _VERSION:
            return datetime.fromtimestamp((found.int >> 80) / 1000, tz=UTC)
    except ValueError:
        pass
    raise Invalid(f"{identifier!r} is none of our ids", code="id", hint="ids are UUIDv7")


def is_id(text: str) -> bool:
    """Whether the text is a UUID as we write them (36 characters, lower case)."""
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
