"""What was used up, what may be, and what follows from the two."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Final, NamedTuple

BY_MINUTE: Final = ("requests_per_minute", "tokens_per_minute")
BY_DAY: Final = ("requests_per_day", "tokens_per_day", "cost_per_day")
THROTTLE: Final = "throttle"
WARN: Final = "warn"
_ROUNDING: Final = 1 - 1e-9
"""A sum of prices may fall short of the round figure that it is."""


class Used(NamedTuple):
    """What one holder of limits used up on a day: calls (tries, of an upstream), tokens, cost."""

    requests: int = 0
    tokens: int = 0
    cost: float = 0.0

    def plus(self, other: Used) -> Used:
        return Used(
            self.requests + other.requests, self.tokens + other.tokens, self.cost + other.cost
        )

    def beyond(self, other: Used) -> Used:
        """What of this is more than another; never negative."""
        return Used(
            max(0, self.requests - other.requests),
            max(0, self.tokens - other.tokens),
            max(0.0, self.cost - other.cost),
        )

    def most(self, other: Used) -> Used:
        """The larger of each."""
        return Used(
            max(self.requests, other.requests),
            max(self.tokens, other.tokens),
            max(self.cost, other.cost),
        )


NOTHING: Final = Used()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ceilings:
    """The limits of one holder, as ``settings.LimitSettings`` says; what is not limited is
    infinite. ``by_minute``, ``by_day``: something is limited by the minute, by the day;
    ``warn_from``: amounts of a day from which answers carry a warning."""

    requests_per_minute: float = inf
    tokens_per_minute: float = inf
    requests_per_day: float = inf
    tokens_per_day: float = inf
    cost_per_day: float = inf
    on_limit: str = "refuse"
    warn_at: float = 0.8
    by_minute: bool = field(init=False)
    by_day: bool = field(init=False)
    warn_from: tuple[float, float, float] = field(init=False)

    def __post_init__(self) -> None:
        days = self.requests_per_day, self.tokens_per_day, self.cost_per_day
        share = self.warn_at * _ROUNDING
        minutes = self.requests_per_minute, self.tokens_per_minute
        object.__setattr__(self, "by_minute", min(minutes) < inf)
        object.__setattr__(self, "by_day", min(days) < inf)
        object.__setattr__(self, "warn_from", tuple(share * limit for limit in days))


def near(ceilings: Ceilings, requests: int, tokens: int, cost: float) -> bool:
    """Whether one more request brings a day limit to its share for warnings; always so where
    ``breach`` finds one."""
    warn_from = ceilings.warn_from
    return requests + 1 >= warn_from[0] or tokens >= warn_from[1] or cost >= warn_from[2]


def breach(ceilings: Ceilings, used: Used) -> str | None:
    """The day limit that leaves no room for one more call, if there is one.

    A call's requests are known before it runs, so that limit is exact; its tokens and cost are
    known afterwards, so calls run while anything is left.
    """
    if used.requests + 1 > ceilings.requests_per_day:
        return "requests_per_day"
    if used.tokens >= ceilings.tokens_per_day:
        return "tokens_per_day"
    return "cost_per_day" if used.cost >= ceilings.cost_per_day * _ROUNDING else None


def shares(ceilings: Ceilings, used: Used) -> list[tuple[str, float, float]]:
    """Every day limit that is set: its name, what is used up of it, and the limit."""
    limits = (ceilings.requests_per_day, ceilings.tokens_per_day, ceilings.cost_per_day)
    lines = zip(BY_DAY, used, limits, strict=True)
    return [(name, amount, limit) for name, amount, limit in lines if limit < inf]


def until_midnight(now: datetime) -> float:
    """Seconds to the next day (UTC), more than 0."""
    today = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return (today + timedelta(days=1) - now).total_seconds()
