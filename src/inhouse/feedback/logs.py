"""Bringing in the feedback logs of older systems: answers as recorded calls, corrections as
statements about them.

What a model answered is kept and never learned from. A recorded call of a log has the arm
``imported``, which no count, cost or score of the product looks at.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec
from sqlalchemy import select

from inhouse.core.errors import InhouseError, Invalid
from inhouse.core.hashing import canonical_json
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.feedback.logged import Logged, OtherEvent, read_line
from inhouse.feedback.submit import FeedbackKind, Statement, read, redacted, store
from inhouse.interactions.content import Content
from inhouse.interactions.entry import InteractionRecord, Status
from inhouse.interactions.pseudonym import pseudonym, salt_of
from inhouse.interactions.tables import Interaction
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec

IMPORTED = "imported"
"""The arm of calls that another system answered."""

_interaction = table_of(Interaction)
_CHUNK = 500
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogImport:
    """What became of the lines: ``read = calls + repeated + len(bad) + sum(other.values())``.

    ``calls``: answers that are recorded now. ``corrections``: those of them that somebody
    corrected, and that are learned from. ``cut``: corrections of a text that the log had cut; they
    are kept as comments. ``other``: lines of other events, by name. ``bad`` is (line, reason).
    """

    read: int
    calls: int
    corrections: int
    cut: int
    repeated: int
    other: dict[str, int]
    bad: tuple[tuple[int, str], ...]


def import_log(
    database: Database,
    spec: TaskSpec,
    lines: Iterable[bytes],
    *,
    source: str,
    catalog: Catalog,
    content: Content,
    events: Collection[str] = (),
    author: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> LogImport:
    """Bring in the lines of a log that belong to a task, committing 500 lines at a time.

    ``events`` names the events of the task; by default those that hold the words of its name.
    ``source`` is the log's name, kept as a tag; ``author`` is who corrected where a line names
    nobody. ``content`` is what is kept of inputs and outputs, as for calls. Importing a log again
    adds nothing. ``progress`` is told the lines read so far.
    """
    importer = _Importer(spec, source, catalog, content, events, author)
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip(b" \t\r\n"))
    total = 0
    while chunk := list(islice(numbered, _CHUNK)):
        found = [one for number, line in chunk if (one := importer.read(number, line)) is not None]
        with database.write() as unit:
            importer.store(unit, found)
        total += len(chunk)
        if progress is not None:
            progress(total)
    return LogImport(
        read=total,
        calls=importer.calls,
        corrections=importer.corrections,
        cut=importer.cut,
        repeated=importer.repeated,
        other=dict(sorted(importer.other.items())),
        bad=tuple(importer.bad),
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of the log, what it tells, and what somebody said about that."""

    number: int
    logged: Logged
    statement: Statement | None


class _Importer:
    """Reads and stores the lines of one log, and counts."""

    def __init__(
        self,
        spec: TaskSpec,
        source: str,
        catalog: Catalog,
        content: Content,
        events: Collection[str],
        author: str | None,
    ) -> None:
        self._spec, self._source, self._catalog = spec, source, catalog
        self._content, self._events, self._author = content, events, author
        self.calls = self.corrections = self.cut = self.repeated = 0
        self.other: Counter[str] = Counter()
        self.bad: list[tuple[int, str]] = []

    def read(self, number: int, line: bytes) -> _Line | None:
        """What a line says about the task; None for another event and for a bad line."""
        try:
            entry = msgspec.json.decode(line.removeprefix(_BOM).strip())
            logged = read_line(self._spec, entry, self._events)
            return _Line(number, logged, self._statement(logged))
        except OtherEvent as other:
            self.other[str(other)] += 1
        except Invalid as error:
            self.bad.append((number, error.message))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            self.bad.append((number, "not JSON"))
        return None

    def store(self, unit: WriteUnit, found: Sequence[_Line]) -> None:
        """Store those that are not there yet. A statement may come before its interaction."""
        unique = {one.logged.id: one for one in found}
        asked = select(_interaction.c.id).where(_interaction.c.id.in_(list(unique)))
        known = set(unit.execute(asked).scalars())
        salt = salt_of(unit)
        rows = [
            self._row(one.logged, salt)
            for name, one in unique.items()
            if name not in known and self._say(unit, one)
        ]
        if rows:
            unit.execute(insert_ignore(unit, Interaction), rows)
        self.calls += len(rows)
        self.repeated += len(found) - len(unique) + len(known)

    def _statement(self, one: Logged) -> Statement | None:
        """A correction is a statement; that of a text that was cut, a comment on it."""
        if one.correction is None:
            return None
        kind, value = FeedbackKind.CORRECTION, one.correction
        if one.cut:
            kind = FeedbackKind.COMMENT
            value = f"corrected to {canonical_json(value).decode()}, of a text that the log cut"
        author = one.author or self._author
        said = read(interaction_id=one.id, kind=kind, value=value, author=author)
        redactor = self._content.redactor
        return said if redactor is None else redacted(said, redactor, self._catalog)

    def _say(self, unit: WriteUnit, line: _Line) -> bool:
        """Store the statement of a line, if it has one; False when the line turns out bad."""
        if line.statement is None:
            return True
        key, at = f"log:{line.logged.id}", line.logged.at
        try:
            store(unit, line.statement, key=key, at=at, catalog=self._catalog)
        except InhouseError as error:
            self.bad.append((line.number, error.message))
            return False
        self.corrections += not line.logged.cut
        self.cut += line.logged.cut
        return True

    def _row(self, one: Logged, salt: bytes) -> dict[str, Any]:
        record = InteractionRecord(
            id=one.id,
            created_at=one.at,
            task=self._spec.name,
            task_revision=self._spec.revision,
            status=Status.FAILED if one.failed else Status.ANSWERED,
            error_code=IMPORTED if one.failed else None,
            input=one.text,
            output=one.output,
            raw=one.raw,
            reference=f"{IMPORTED}/{one.model}",
            hosting="external",
            arm=IMPORTED,
            subject=None if one.subject is None else pseudonym(salt, one.subject),
            tags={"source": self._source, **one.tags},
            latency_ms=one.latency_ms,
        )
        kept = msgspec.structs.asdict(self._content.of(record))
        return {name: value for name, value in kept.items() if name in _interaction.c}
