"""Bringing in labelled examples from a file: good rows are added once, bad ones named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, bindparam, select, update

from inhouse.core.clock import Clock
from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of
from inhouse.core.ids import new_id
from inhouse.datasets.example import check_learnable
from inhouse.datasets.formats.choose import format_of, name_of
from inhouse.datasets.formats.row import Row
from inhouse.datasets.formats.targets import COLUMNS, number, target_of
from inhouse.datasets.rows import columns_of, read_rows
from inhouse.datasets.tables import ImportedExample
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.interactions.pseudonym import pseudonym, salt_of
from inhouse.tasks.spec import TaskSpec

_table = table_of(ImportedExample)
_CHUNK = 500
_SOURCE_LENGTH = 256
_NAME_LENGTH = 256
_MOST_WEIGHT = 1e6
_NAMED = 20
_POSITIONS = ("text", "target")
ROLES = ("text", "target", "group", "occurred_at", "weight", "subject")
_NAMELESS = "nameless_hash"
Example = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of the rows: ``read = added + duplicate + len(bad)``; ``bad`` is (line, reason),
    where a row begins in the file, counted from 1 (in Parquet and DocBin its number). Empty lines
    are not read. ``unread``: columns that mean nothing to an import, with the rows that had a value
    there. ``format`` is what the file was taken for."""

    read: int
    added: int
    duplicate: int
    bad: tuple[tuple[int, str], ...]
    unread: Mapping[str, int] = field(default_factory=dict)
    format: str = "csv"


def import_file(
    database: Database,
    spec: TaskSpec,
    path: Path,
    *,
    clock: Clock,
    columns: Mapping[str, str] | None = None,
    file_format: str | None = None,
    strict: bool = False,
    source: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Add the rows of a file as examples of the task's revision.

    ``file_format`` is one of ``choose.FORMATS``; by default the file's name or content says it.
    ``columns`` names the file's columns for the roles ``text``, ``target``, ``group``,
    ``occurred_at``, ``weight`` and ``subject``; by default text or input; what the kind is called
    (``targets.COLUMNS``); group or document; occurred_at or published; weight; subject. Only text
    and target are needed. Times are ISO 8601, UTC where they name no zone; subjects are kept as
    pseudonyms. Rows are committed 500 at a time, and ``progress`` is told those read so far; a row
    that is there already (same text, target, weight, group, time and subject) is counted, not
    added, so that an import can be repeated. ``strict``: one bad row and nothing is added. Raises
    NotFound for a missing file, Invalid (``import-format``, ``import-columns``, ``missing-extra``,
    ``import-bad-rows``) for one that cannot be read.
    """
    check_learnable(spec)
    name = file_format or format_of(path)
    reading = _Reading(database, spec, path, name, columns or {})
    if strict:
        reading.refuse_bad_rows()
    told_source = (source or name_of(path))[-_SOURCE_LENGTH:]
    total = added = 0
    for count, good in reading.chunks():
        with database.write() as unit:
            added += _add(unit, spec, good, source=told_source, at=clock.now())
        total += count
        if progress is not None:
            progress(total)
    bad = tuple(reading.bad)
    return ImportReport(
        read=total,
        added=added,
        duplicate=total - added - len(bad),
        bad=bad,
        unread=dict(sorted(reading.unread.items())),
        format=name,
    )


class _Reading:
    """One file on its way in. ``bad`` and ``unread`` fill while the chunks are taken."""

    def __init__(
        self,
        database: Database,
        spec: TaskSpec,
        path: Path,
        name: str,
        named: Mapping[str, str],
    ) -> None:
        self._spec, self._path, self._name, self._named = spec, path, name, named
        self._chosen = _choose(spec, columns_of(path, name), _roles(name, named))
        with database.read() as unit:
            self._salt = salt_of(unit)
        self.bad: list[tuple[int, str]] = []
        self.unread: Counter[str] = Counter()

    def chunks(self) -> Iterator[tuple[int, list[Example]]]:
        """How many rows were read, and those that fit, 500 rows at a time."""
        self.bad.clear()
        self.unread.clear()
        rows = read_rows(self._path, self._name, self._named)
        known = set(self._chosen.values())
        while chunk := list(islice(rows, _CHUNK)):
            good = []
            for row in chunk:
                self.unread.update(
                    name for name, value in row.fields.items() if name not in known and value
                )
                try:
                    good.append(self._example(row))
                except Invalid as error:
                    self.bad.append((row.line, error.message))
            yield len(chunk), good

    def refuse_bad_rows(self) -> None:
        """Read everything once. Raises Invalid that names the first bad rows."""
        for _ in self.chunks():
            pass
        if self.bad:
            shown = "; ".join(f"{line}: {reason}" for line, reason in self.bad[:_NAMED])
            more = f"; and {len(self.bad) - _NAMED} more" if len(self.bad) > _NAMED else ""
            raise Invalid(
                f"bad rows: {len(self.bad)}, so nothing was added. {shown}{more}",
                code="import-bad-rows",
                hint="correct them, or leave --strict away to add the others",
            )

    def _example(self, row: Row) -> Example:
        """A row's values for the table. Raises Invalid that says what is wrong with it."""
        if row.problem:
            raise Invalid(row.problem)
        fields = {role: row.fields.get(name) for role, name in self._chosen.items()}
        text = fields["text"]
        if not isinstance(text, str) or not text.strip():
            raise Invalid(f"{self._chosen['text']} is empty or no text")
        example = {
            "input": text,
            "target": target_of(self._spec, fields["target"], text),
            "weight": _weight(fields.get("weight")),
            "group_key": _name(fields.get("group"), "the group"),
            "occurred_at": _time(fields.get("occurred_at")),
        }
        subject = _name(fields.get("subject"), "the subject")
        hidden = None if subject is None else pseudonym(self._salt, subject)
        named = example if hidden is None else {**example, "subject": hidden}
        return {
            **example,
            "subject": hidden,
            "content_hash": digest_of(named),
            _NAMELESS: digest_of(example) if hidden else None,
            "row_number": row.line,
        }


def _roles(name: str, named: Mapping[str, str]) -> dict[str, str]:
    """The roles that are named by a column's name: CoNLL has places for token and tag."""
    if name != "conll":
        return dict(named)
    return {role: column for role, column in named.items() if role not in _POSITIONS}


def _choose(spec: TaskSpec, found: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """The file's column for every role that it has one for."""
    usual = {
        "text": ("text", "input"),
        "target": COLUMNS[spec.kind],
        "group": ("group", "document"),
        "occurred_at": ("occurred_at", "published"),
        "weight": ("weight",),
        "subject": ("subject",),
    }
    if unknown := sorted(set(named) - set(ROLES)):
        raise Invalid(
            f"{unknown[0]!r} is no role of a column",
            code="import-columns",
            hint="roles: " + ", ".join(ROLES),
        )
    wanted = {role: (named[role],) if role in named else usual[role] for role in ROLES}
    chosen = {
        role: next(name for name in names if name in found)
        for role, names in wanted.items()
        if any(name in found for name in names)
    }
    needed = {"text", "target", *named} - set(chosen)
    if needed:
        missing = "; ".join(" or ".join(wanted[role]) for role in ROLES if role in needed)
        raise Invalid(
            f"the file has no column {missing}; it has " + (", ".join(found) or "none"),
            code="import-columns",
            hint="name them, such as text=headline",
        )
    return chosen


def _weight(value: Any) -> float:
    if value is None or value == "":
        return 1.0
    weight = number(value, "weight")
    if not 0 < weight <= _MOST_WEIGHT:
        raise Invalid(f"weight {weight:g} is not above 0 and at most {_MOST_WEIGHT:g}")
    return weight


def _name(value: Any, what: str) -> str | None:
    if value is None or value == "":
        return None
    name = value if isinstance(value, str) else str(value)
    if len(name) > _NAME_LENGTH or "\0" in name:
        raise Invalid(f"{what} is longer than {_NAME_LENGTH} characters, or holds U+0000")
    return name


def _time(value: Any) -> datetime | None:
    if value is None or value == "":
        return None
    try:
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise Invalid(f"{value!r} is no time in ISO 8601") from None


def _add(
    unit: WriteUnit,
    spec: TaskSpec,
    examples: Sequence[Mapping[str, Any]],
    *,
    source: str,
    at: datetime,
) -> int:
    """Insert those that are not there; how many that were, or came before without their subject."""
    unique = {example["content_hash"]: dict(example) for example in reversed(examples)}
    nameless = {name: one for one in unique.values() if (name := one.pop(_NAMELESS))}
    mine = [_table.c.task == spec.name, _table.c.task_revision == spec.revision]
    statement = select(_table.c.content_hash).where(*mine, _table.c.content_hash.in_(list(unique)))
    known = set(unit.execute(statement).scalars())
    named = _give_subjects(unit, mine, nameless, known)
    rows = [
        {
            **example,
            "id": new_id(),
            "task": spec.name,
            "task_revision": spec.revision,
            "source": source,
            "created_at": at,
        }
        for name, example in unique.items()
        if name not in known | named
    ]
    if rows:
        unit.execute(insert_ignore(unit, ImportedExample), rows)
    return len(rows) + len(named)


def _give_subjects(
    unit: WriteUnit,
    mine: Sequence[ColumnElement[bool]],
    nameless: Mapping[str, Example],
    known: Collection[str],
) -> set[str]:
    """Give rows that came before without their subject the one that is named now, under the same
    id: snapshots hold them by it, and what is erased with the subject is found there. Returns the
    hashes that were not known before."""
    if not nameless:
        return set()
    wanted = [_table.c.content_hash.in_(list(nameless)), _table.c.subject.is_(None)]
    found = unit.execute(select(_table.c.id, _table.c.content_hash).where(*mine, *wanted)).all()
    changes = []
    for row in found:
        example = nameless[row.content_hash]
        name = example["content_hash"]
        kept = row.content_hash if name in known else name
        changes.append({"row": row.id, "named": kept, "whose": example["subject"]})
    if changes:
        statement = update(_table).where(_table.c.id == bindparam("row"))
        given = statement.values(content_hash=bindparam("named"), subject=bindparam("whose"))
        unit.execute(given, changes)
    return {change["named"] for change in changes} - set(nameless)
