"""Bringing in statements from a file: one JSON object a line, bad ones named and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from inhouse.core.clock import Clock
from inhouse.core.errors import InhouseError, Invalid
from inhouse.core.hashing import digest_of
from inhouse.db.unit import Database
from inhouse.feedback.submit import Statement, hold, read, redacted, store
from inhouse.interactions.redact import Redactor
from inhouse.tasks.catalog import Catalog

_CHUNK = 500
_BOM = b"\xef\xbb\xbf"
_FIELDS = {"interaction_id", "kind", "value", "author", "idempotency_key"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FeedbackImport:
    """What became of the lines: ``read = added + repeated + len(bad)``; ``bad`` is (line, reason)
    with lines counted from 1. Empty lines are not read."""

    read: int
    added: int
    repeated: int
    bad: tuple[tuple[int, str], ...]


def import_rows(
    database: Database,
    lines: Iterable[bytes],
    *,
    catalog: Catalog,
    clock: Clock,
    author: str | None = None,
    redactor: Redactor | None = None,
    progress: Callable[[int], None] | None = None,
) -> FeedbackImport:
    """Store the statements of a JSON Lines file, committing 500 lines at a time.

    A line is ``{interaction_id, kind, value, author?, idempotency_key?}``; ``author`` is who speaks
    where a line names nobody. A second import of the same file adds nothing; to say again what an
    earlier file said, give the line an ``idempotency_key``. A line that does not fit is named in
    the report and changes nothing. ``redactor`` is applied before anything is stored; ``progress``
    is told the lines read so far.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip(b" \t\r\n"))
    reader = _Reader(author, redactor, catalog)
    total = added = repeated = 0
    bad: list[tuple[int, str]] = []
    for chunk in _chunks(numbered):
        said: list[tuple[int, Statement, str]] = []
        for number, line in chunk:
            try:
                said.append((number, *reader.read(line)))
            except InhouseError as error:
                bad.append((number, error.message))
        with database.write() as unit:
            hold(unit, {statement.interaction_id for _, statement, _ in said})
            for number, statement, key in said:
                try:
                    at = clock.now()
                    fresh = store(unit, statement, key=key, at=at, catalog=catalog)[1]
                except InhouseError as error:
                    bad.append((number, error.message))
                    continue
                added += fresh
                repeated += not fresh
        total += len(chunk)
        if progress is not None:
            progress(total)
    return FeedbackImport(read=total, added=added, repeated=repeated, bad=tuple(sorted(bad)))


class _Reader:
    """Turns lines into statements and remembers, per author and interaction, what was said last."""

    def __init__(self, author: str | None, redactor: Redactor | None, catalog: Catalog) -> None:
        self._author = author
        self._redactor = redactor
        self._catalog = catalog
        self._keys: dict[tuple[str, str, str | None], tuple[Statement, str]] = {}

    def read(self, line: bytes) -> tuple[Statement, str]:
        fields = _fields(line)
        statement = read(
            interaction_id=fields.get("interaction_id"),
            kind=fields.get("kind"),
            value=fields.get("value"),
            author=fields.get("author", self._author),
        )
        if self._redactor is not None:
            statement = redacted(statement, self._redactor, self._catalog)
        own = fields.get("idempotency_key")
        if own is None:
            return statement, self._content_key(statement)
        if not isinstance(own, str):
            raise Invalid("idempotency_key is text", code="feedback-line")
        return statement, "key:" + digest_of(own)

    def _content_key(self, statement: Statement) -> str:
        speaker = (statement.interaction_id, statement.kind.value, statement.author)
        last = self._keys.get(speaker)
        if last is not None and last[0] == statement:
            return last[1]
        key = statement.key_after(last[1] if last else None)
        self._keys[speaker] = (statement, key)
        return key


def _fields(line: bytes) -> dict[str, Any]:
    try:
        decoded = msgspec.json.decode(line.removeprefix(_BOM))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Invalid("not JSON", code="feedback-line") from None
    if not isinstance(decoded, dict):
        raise Invalid("not a JSON object", code="feedback-line")
    if unknown := sorted(set(decoded) - _FIELDS):
        raise Invalid("unknown fields: " + ", ".join(unknown), code="feedback-line")
    return decoded


def _chunks(lines: Iterator[tuple[int, bytes]]) -> Iterator[list[tuple[int, bytes]]]:
    while chunk := list(islice(lines, _CHUNK)):
        yield chunk
