"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from inhouse.core.errors import Invalid

if TYPE_CHECKING:
    from inhouse.monitoring.overview import Period


def parse_time(text: str) -> datetime:
    """A time in ISO 8601; one without a zone is UTC. Raises Invalid (code ``time``)."""
    from inhouse.db.base import in_utc

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{text!r} is no time", code="time", hint="write it as 2026-01-31T12:00:00Z"
        ) from None
    return in_utc(found.replace(tzinfo=UTC) if found.tzinfo is None else found)


def parse_period(text: str) -> Period:
    """How far back: 24h, 7d or 30d. Raises Invalid (code ``window``)."""
    from inhouse.monitoring.overview import Period

    try:
        return Period(text)
    except ValueError:
        raise Invalid(
            f"{text!r} is no window", code="window", hint="write 24h, 7d or 30d"
        ) from None
