"""Which calls somebody wants to see."""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, FromClause, Table, func, or_

from inhouse.core.errors import Invalid
from inhouse.core.hashing import canonical_json
from inhouse.db.unit import ReadUnit
from inhouse.interactions.outcomes import SHADOW

FACETS: Final = ("task", "status", "arm", "reference", "hosting")
_ESCAPE: Final = "\\"


@dataclass(frozen=True, slots=True, kw_only=True)
class Facets:
    """What calls are counted by; None leaves a facet open. ``task`` "" means free chats,
    ``reference`` and ``hosting`` "" that nothing answered. Copies that a candidate in shadow
    answered are meant only where ``arm`` is "shadow"."""

    task: str | None = None
    status: str | None = None
    arm: str | None = None
    reference: str | None = None
    hosting: str | None = None

    def given(self) -> dict[str, str]:
        """The facets that are not open."""
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def match(self, values: Any, *, but: str = "") -> bool:
        """Whether an object with these attributes is meant, whatever its facet ``but`` is."""
        if self.arm is None and but != "arm" and values.arm == SHADOW:
            return False
        return all(
            (getattr(values, name) or "") == value
            for name, value in self.given().items()
            if name != but
        )

    def where(self, table: FromClause, *, copies: bool = False) -> list[ColumnElement[bool]]:
        """As conditions on ``interaction`` or ``activity``. ``copies``: do not leave them out."""
        found = [_equal(table, name, value) for name, value in self.given().items()]
        if self.arm is None and not copies:
            found.append(or_(table.c.arm.is_(None), table.c.arm != SHADOW))
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A span of time, ``since`` inclusive, ``until`` exclusive; None leaves an end open."""

    since: datetime | None = None
    until: datetime | None = None

    def within(self, other: Span) -> Span:
        """What both have in common, with one bound at each end: a database would begin at either
        of two."""
        starts = [at for at in (self.since, other.since) if at is not None]
        ends = [at for at in (self.until, other.until) if at is not None]
        return Span(since=max(starts, default=None), until=min(ends, default=None))

    def where(self, table: Table) -> list[ColumnElement[bool]]:
        """As conditions on the moment of a call."""
        bounds: list[ColumnElement[bool]] = []
        if self.since is not None:
            bounds.append(table.c.created_at >= self.since)
        if self.until is not None:
            bounds.append(table.c.created_at < self.until)
        return bounds


def contains(unit: ReadUnit, column: ColumnElement[Any], text: str) -> ColumnElement[bool]:
    """Whether a column of JSON text holds a text, in either case (SQLite: of ASCII letters)."""
    quoted = canonical_json(text).decode()[1:-1]
    for special in (_ESCAPE, "%", "_"):
        quoted = quoted.replace(special, _ESCAPE + special)
    pattern = f"%{quoted}%"
    if unit.dialect.name == "postgresql":
        return column.op("ILIKE")(pattern)
    return column.like(pattern, escape=_ESCAPE)


def has_tag(unit: ReadUnit, column: ColumnElement[Any], name: str, value: str) -> Any:
    """Whether a column of tags holds this one."""
    pair = canonical_json({name: value}).decode()[1:-1]
    find = func.strpos if unit.dialect.name == "postgresql" else func.instr
    return find(column, pair) > 0


def read_tag(text: str) -> tuple[str, str] | None:
    """A tag from ``name=value``; None for "". Raises Invalid (code ``tag``)."""
    if not text:
        return None
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise Invalid(f"{text!r} is no tag", code="tag", hint="write name=value")
    return name, value


def _equal(table: FromClause, name: str, value: str) -> ColumnElement[bool]:
    column = table.c[name]
    return column.is_(None) if value == "" and column.nullable else column == value
