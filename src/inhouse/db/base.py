"""Declarative base, naming convention, and the column types that mean the same on both dialects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from sqlalchemy import DateTime, Dialect, MetaData, Text
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator, TypeEngine

from inhouse.core.errors import Invalid
from inhouse.core.hashing import canonical_json
from inhouse.core.nesting import is_too_deep

_ZONE = len("+00:00")


class Base(DeclarativeBase):
    """Base of every table class. The classes exist for types and migrations; queries are Core."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def in_utc(value: datetime) -> datetime:
    """The same moment in UTC. Raises ValueError for one without a zone, Invalid (code ``time``)
    for one that UTC has no year for."""
    if value.tzinfo is None:
        raise ValueError("times carry a zone; this one has none")
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise Invalid(
            f"{value.isoformat()} lies outside of all years", code="time", hint="years 1 to 9999"
        ) from None


def instant_text(value: datetime) -> str:
    """A moment as SQLite keeps it: ``2026-01-31T09:00:00.000000Z``."""
    return in_utc(value).isoformat(timespec="microseconds")[:-_ZONE] + "Z"


def json_text(value: Any) -> str:
    """A JSON value as both dialects keep it."""
    return canonical_json(value).decode()


class Instant(TypeDecorator[datetime]):
    """A moment in UTC: timestamptz on PostgreSQL, sortable ISO text with microseconds on SQLite."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "postgresql":
            return dialect.type_descriptor(DateTime(timezone=True))
        return dialect.type_descriptor(Text())

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        return in_utc(value) if dialect.name == "postgresql" else instant_text(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if isinstance(value, datetime):
            return value.astimezone(UTC)
        return datetime.fromisoformat(value)


class JsonText(TypeDecorator[Any]):
    """A JSON value kept as canonical text, so that any Unicode string survives on both dialects.

    PostgreSQL's own JSONB refuses U+0000; text that holds JSON escapes it. What cannot be decoded,
    or is nested too deeply to be shown, is read as its text: one such value spoils no page.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        return None if value is None else json_text(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        try:
            found = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return value
        return value if is_too_deep(found) else found
