"""Times on the command line."""

from __future__ import annotations

from datetime import UTC, datetime

from inhouse.core.errors import Invalid


def parse_time(text: str) -> datetime:
    """A time in ISO 8601; one without a zone is UTC. Raises Invalid (code ``time``)."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid(
            f"{text!r} is no time", code="time", hint="write it as 2026-01-31T12:00:00Z"
        ) from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
