"""Canonical JSON and SHA-256: the same content has the same name everywhere."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder(order="deterministic")
_CHUNK = 1 << 20


def canonical_json(value: Any) -> bytes:
    """The one JSON form of a value: UTF-8, no spaces, keys sorted, NaN as null."""
    return _encoder.encode(value)


def digest_of(value: Any) -> str:
    """SHA-256 (64 hex characters) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 (64 hex characters) of a file's bytes, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
