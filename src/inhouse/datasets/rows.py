"""Reading labelled rows of a CSV or JSON Lines file, one at a time; a bad one stops nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from inhouse.core.errors import Invalid, NotFound

_JSONL = (".jsonl", ".ndjson")
_PEEK = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: the line of the file where it begins (from 1), and its fields or its problem."""

    line: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def columns_of(path: Path) -> list[str]:
    """Column names: the header of a CSV, the keys of the first 100 JSON objects.

    Raises NotFound for a missing file, Invalid (``import-format``) for another kind of file.
    """
    if not path.is_file():
        raise NotFound(f"there is no file {path}", code="file-not-found")
    if path.suffix.lower() in _JSONL:
        seen = dict.fromkeys(name for row in islice(read_rows(path), _PEEK) for name in row.fields)
        return list(seen)
    if path.suffix.lower() == ".csv":
        return _header(path)
    raise Invalid(
        f"{path.name}: neither .csv nor .jsonl",
        code="import-format",
        hint="CSV with a header, or one JSON object a line, both UTF-8",
    )


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file that ``columns_of`` accepts. UTF-8, with or without a byte order mark."""
    return _json_rows(path) if path.suffix.lower() in _JSONL else _csv_rows(path)


def _header(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        try:
            names = [name.strip() for name in next(csv.reader(file), [])]
        except csv.Error as error:
            raise Invalid(f"{path.name}: not CSV: {error}", code="import-format") from None
    if not all(_is_text(name) for name in names):
        raise Invalid(f"{path.name}: not UTF-8", code="import-format")
    return names


def _csv_rows(path: Path) -> Iterator[Row]:
    """Undecodable bytes arrive as lone surrogates, so that only their own row is lost."""
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        reader = csv.reader(file, strict=False)
        header = [name.strip() for name in next(reader, [])]
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line=line, problem=f"not CSV: {error}")
                continue
            if values:
                yield _csv_row(line, header, values)


def _csv_row(line: int, header: list[str], values: list[str]) -> Row:
    if len(values) != len(header):
        return Row(line=line, problem=f"{len(values)} fields, the header has {len(header)}")
    if not all(_is_text(value) for value in values):
        return Row(line=line, problem="not UTF-8")
    return Row(line=line, fields=dict(zip(header, values, strict=True)))


def _json_rows(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for line, content in enumerate(file, 1):
            stripped = content.removeprefix(b"\xef\xbb\xbf").strip(b" \t\r\n")
            if not stripped:
                continue
            try:
                fields = msgspec.json.decode(stripped)
            except (msgspec.DecodeError, UnicodeDecodeError):
                yield Row(line=line, problem="not JSON")
                continue
            if isinstance(fields, dict):
                yield Row(line=line, fields=fields)
            else:
                yield Row(line=line, problem="not a JSON object")


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
