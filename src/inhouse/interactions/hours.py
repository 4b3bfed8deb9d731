"""Hours and days of UTC, by which calls are counted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from inhouse.core.errors import Invalid
from inhouse.db.base import in_utc

HOUR: Final = timedelta(hours=1)
NEVER: Final = datetime.min.replace(tzinfo=UTC)
DAY: Final = timedelta(days=1)
LENGTH: Final = len("2026-01-31T09")
DAY_LENGTH: Final = len("2026-01-31")


def shifted(at: datetime, by: timedelta) -> datetime:
    """The moment so much later, or earlier. Raises Invalid (code ``time``) where no year is left
    for it."""
    try:
        return at + by
    except OverflowError:
        raise Invalid(
            f"{at.isoformat()} lies too near the end of all years",
            code="time",
            hint="name a time well within the years 1 to 9999",
        ) from None


def hour_of(at: datetime) -> str:
    """The hour of a moment as tables have it: ``2026-01-31T09``."""
    return in_utc(at).isoformat()[:LENGTH]


def moment_of(hour: str) -> datetime:
    """When such an hour begins."""
    return datetime.fromisoformat(f"{hour}:00:00+00:00")


def hour_floor(at: datetime) -> datetime:
    """The beginning of the hour that a moment is in."""
    return in_utc(at).replace(minute=0, second=0, microsecond=0)


def hour_ceiling(at: datetime) -> datetime:
    """The first beginning of an hour that is not before a moment."""
    floor = hour_floor(at)
    return floor if floor == at else shifted(floor, HOUR)


def day_of(at: datetime) -> str:
    """The day of a moment as tables have it: ``2026-01-31``."""
    return in_utc(at).isoformat()[:DAY_LENGTH]


def day_floor(at: datetime) -> datetime:
    """The beginning of the day that a moment is in."""
    return hour_floor(at).replace(hour=0)


def day_ceiling(at: datetime) -> datetime:
    """The first beginning of a day that is not before a moment."""
    floor = day_floor(at)
    return floor if floor == at else shifted(floor, DAY)
