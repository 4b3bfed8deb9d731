"""Bringing in labelled examples from a file: good rows are added once, bad ones named."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from sqlalchemy import select

from inhouse.core.clock import Clock
from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of
from inhouse.core.ids import new_id
from inhouse.datasets.example import check_learnable
from inhouse.datasets.rows import Row, columns_of, read_rows
from inhouse.datasets.tables import ImportedExample
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskKind, TaskSpec

_table = table_of(ImportedExample)
_CHUNK = 500
_SOURCE_LENGTH = 256
_GROUP_LENGTH = 256
_MOST_WEIGHT = 1e6
ROLES = ("text", "target", "group", "occurred_at", "weight")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What became of the rows: ``read = added + duplicate + len(bad)``; ``bad`` is (line, reason),
    where a row begins in the file, counted from 1. Empty lines are not read."""

    read: int
    added: int
    duplicate: int
    bad: tuple[tuple[int, str], ...]


def import_file(
    database: Database,
    spec: TaskSpec,
    path: Path,
    *,
    clock: Clock,
    columns: Mapping[str, str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> ImportReport:
    """Add the rows of a CSV (with a header) or JSON Lines file as examples of the task's revision.

    ``columns`` names the file's columns for the roles ``text``, ``target``, ``group``,
    ``occurred_at`` and ``weight``; by default text or input; label (a choice) or score, value or
    label (a score); group or document; occurred_at or published; weight. Only text and target are
    needed. Times are ISO 8601, UTC where they name no zone. Rows are committed 500 at a time, and
    ``progress`` is told those read so far; a row that is there already (same text, target, weight,
    group and time) is counted, not added, so that an import can be repeated. Raises NotFound for a
    missing file, Invalid (``import-format``, ``import-columns``) for one that cannot be read.
    """
    check_learnable(spec)
    chosen = _choose(spec, columns_of(path), columns or {})
    source = path.name[-_SOURCE_LENGTH:]
    total = added = 0
    bad: list[tuple[int, str]] = []
    rows = read_rows(path)
    while chunk := list(islice(rows, _CHUNK)):
        good = []
        for row in chunk:
            try:
                good.append(_example(spec, row, chosen))
            except Invalid as error:
                bad.append((row.line, error.message))
        with database.write() as unit:
            added += _add(unit, spec, good, source=source, at=clock.now())
        total += len(chunk)
        if progress is not None:
            progress(total)
    return ImportReport(read=total, added=added, duplicate=total - added - len(bad), bad=tuple(bad))


def _choose(spec: TaskSpec, found: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """The file's column for every role that it has one for."""
    targets = ("label",) if spec.kind is TaskKind.CHOICE else ("score", "value", "label")
    usual = {
        "text": ("text", "input"),
        "target": (*targets, "target"),
        "group": ("group", "document"),
        "occurred_at": ("occurred_at", "published"),
        "weight": ("weight",),
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


def _example(spec: TaskSpec, row: Row, chosen: Mapping[str, str]) -> dict[str, Any]:
    """A row's values for the table. Raises Invalid that says what is wrong with it."""
    if row.problem:
        raise Invalid(row.problem)
    fields = {role: row.fields.get(name) for role, name in chosen.items()}
    text = fields["text"]
    if not isinstance(text, str) or not text.strip():
        raise Invalid(f"{chosen['text']} is empty or no text")
    example = {
        "input": text,
        "target": _target(spec, fields["target"]),
        "weight": _weight(fields.get("weight")),
        "group_key": _group(fields.get("group")),
        "occurred_at": _time(fields.get("occurred_at")),
    }
    return {**example, "content_hash": digest_of(example), "row_number": row.line}


def _target(spec: TaskSpec, value: Any) -> dict[str, Any]:
    if value is None or value == "":
        raise Invalid("the target is empty")
    if spec.kind is TaskKind.SCORE and isinstance(value, str):
        value = _number(value, "the target")
    return outputs.check(spec, value)


def _weight(value: Any) -> float:
    if value is None or value == "":
        return 1.0
    weight = _number(value, "weight")
    if not 0 < weight <= _MOST_WEIGHT:
        raise Invalid(f"weight {weight:g} is not above 0 and at most {_MOST_WEIGHT:g}")
    return weight


def _number(value: Any, what: str) -> float:
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise Invalid(f"{what} {value!r} is no number")
    return number


def _group(value: Any) -> str | None:
    if value is None or value == "":
        return None
    name = value if isinstance(value, str) else str(value)
    if len(name) > _GROUP_LENGTH or "\0" in name:
        raise Invalid(f"the group is longer than {_GROUP_LENGTH} characters, or holds U+0000")
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
    """Insert those that are not there; how many that were."""
    unique = {example["content_hash"]: example for example in reversed(examples)}
    statement = select(_table.c.content_hash).where(
        _table.c.task == spec.name,
        _table.c.task_revision == spec.revision,
        _table.c.content_hash.in_(list(unique)),
    )
    known = set(unit.execute(statement).scalars())
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
        if name not in known
    ]
    if rows:
        unit.execute(insert_ignore(unit, ImportedExample), rows)
    return len(rows)
