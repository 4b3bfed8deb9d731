"""Which format a file has: by its name, else by how it begins."""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from inhouse.core.errors import Invalid, NotFound
from inhouse.datasets.formats.row import Format

_MODULES: Final = {
    "csv": "delimited",
    "jsonl": "jsonlines",
    "chat": "chat",
    "parquet": "parquet",
    "conll": "conll",
    "docbin": "docbin",
}
FORMATS: Final = tuple(_MODULES)
SUFFIXES: Final = {
    ".csv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".conll": "conll",
    ".bio": "conll",
    ".iob": "conll",
    ".spacy": "docbin",
}
MEDIA_TYPES: Final = {
    "csv": "text/csv; charset=utf-8",
    "jsonl": "application/x-ndjson",
    "chat": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
    "conll": "text/plain; charset=utf-8",
    "docbin": "application/octet-stream",
}
ENDINGS: Final = {
    "csv": "csv",
    "jsonl": "jsonl",
    "chat": "chat.jsonl",
    "parquet": "parquet",
    "conll": "conll",
    "docbin": "spacy",
}
"""How a file of the format is called."""
_EXTRAS: Final = {"parquet": "parquet", "docbin": "spacy"}
_TAGGED = re.compile(r"\S+[ \t](?:.*[ \t])?(?:O|[BIESLU]-\S+)\s*\Z")
_PEEK: Final = 50
_PEEK_BYTES: Final = 1 << 20


def load(name: str) -> Format:
    """A format by its name. Raises Invalid (``format``) for an unknown one, and
    (``missing-extra``) that says what to install."""
    if name not in _MODULES:
        raise Invalid(
            f"{name!r} is no format", code="format", hint="formats: " + ", ".join(FORMATS)
        )
    try:
        return cast("Format", import_module(f"inhouse.datasets.formats.{_MODULES[name]}"))
    except ModuleNotFoundError:
        extra = _EXTRAS.get(name)
        if extra is None:
            raise
        raise Invalid(
            f"what reads and writes {name} is not installed",
            code="missing-extra",
            hint=f"pip install 'inhouse[{extra}]'",
        ) from None


def check_file(path: Path) -> None:
    """Raise NotFound (``file-not-found``) where there is no file."""
    if not path.is_file():
        raise NotFound(f"there is no file {path}", code="file-not-found")


def format_of(path: Path) -> str:
    """The name of a file's format. Raises NotFound for a missing file, Invalid
    (``import-format``) for one that cannot be told."""
    check_file(path)
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    named = SUFFIXES.get(suffixes[-1]) if suffixes else None
    if named in ("csv", "parquet", "conll", "docbin"):
        return named
    found = _sniff(path)
    if found is None and named is None:
        name = name_of(path)
        raise Invalid(
            f"{name}: neither its name nor its content says what it is",
            code="import-format",
            hint="name it with --format: " + ", ".join(FORMATS),
        )
    return found or "jsonl"


def name_of(path: Path) -> str:
    """The file's name as a text that can be stored: what is no UTF-8 in it is replaced."""
    return os.fsencode(path.name).decode("utf-8", "replace")


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """The file's bytes, unpacked where its name ends in .gz."""
    if path.suffix.lower() == ".gz":
        with gzip.open(path) as packed:
            yield cast("BinaryIO", packed)
        return
    with path.open("rb") as file:
        yield file


def _sniff(path: Path) -> str | None:
    """What the first lines are; None when they are nothing that we know."""
    try:
        with opened(path) as file:
            begun = iter(partial(file.readline, _PEEK_BYTES), b"")
            lines = [line for line in islice(begun, _PEEK) if line.strip()]
    except (OSError, EOFError, zlib.error):
        return None
    if not lines:
        return None
    if lines[0].startswith(b"PAR1"):
        return "parquet"
    if lines[0].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] == b"{":
        return _kind_of_json(path, lines)
    text = [line.decode("utf-8", "replace").rstrip("\r\n") for line in lines]
    tokens = [line for line in text if not line.startswith(("# ", "-DOCSTART-"))]
    return "conll" if tokens and all(map(_TAGGED.match, tokens)) else None


def _kind_of_json(path: Path, lines: list[bytes]) -> str:
    for line in lines:
        try:
            found = msgspec.json.decode(line.removeprefix(b"\xef\xbb\xbf"))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(found, dict) and "messages" in found:
            return "chat"
        if isinstance(found, dict) and {"event", "details"} <= set(found):
            name = name_of(path)
            raise Invalid(
                f"{name} is a feedback log, not a file of examples",
                code="import-format",
                hint=f"`inhouse feedback import {name} --log TASK` brings it in",
            )
    return "jsonl"
