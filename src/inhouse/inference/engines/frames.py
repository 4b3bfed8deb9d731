"""Messages over a pipe: four bytes of length (big endian), then msgpack."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, BinaryIO

import msgspec

_LENGTH_BYTES = 4


def frame_of(message: Mapping[str, Any]) -> bytes:
    """One message as it is written. Raises TypeError, OverflowError and RecursionError for what
    msgpack does not hold."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


def write_frame(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    """Write one message and flush. Raises OSError when nobody reads any more."""
    stream.write(frame_of(message))
    stream.flush()


def read_frame(stream: BinaryIO) -> dict[str, Any] | None:
    """The next message; None at the end, also when the last message was cut short."""
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    body = stream.read(length)
    return msgspec.msgpack.decode(body, type=dict[str, Any]) if len(body) == length else None
