"""Axes of charts: round ticks, their words, and numbers as places in percent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from inhouse.dashboard.figures import number

Point = tuple[float, float]
Band = tuple[float, float, float]
"""x, low, high."""
_BOX: Final = 1000
_STEPS: Final = (1.0, 2.0, 2.5, 5.0, 10.0)
_TIMES: Final = (
    1,
    5,
    15,
    60,
    300,
    900,
    1800,
    3600,
    10_800,
    21_600,
    43_200,
    86_400,
    172_800,
    604_800,
)
_DAY: Final = 86_400
_MINUTE: Final = 60
_MOST_PLAIN: Final = 1000
_RAISED: Final = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True, slots=True)
class Tick:
    """A place on an axis, in percent, and its words. ``wide``: left out on a small screen."""

    at: float
    label: str
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Scale:
    """A linear axis from ``low`` to ``high``, its ticks inside."""

    low: float
    high: float
    ticks: tuple[float, ...] = ()

    def across(self, value: float) -> float:
        """Percent from the left."""
        return trim(100 * self._share(value))

    def down(self, value: float) -> float:
        """Percent from the top."""
        return trim(100 * (1 - self._share(value)))

    def _share(self, value: float) -> float:
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True)
class LogScale(Scale):
    """An axis of powers of ten; values under ``low`` lie on its end."""

    def _share(self, value: float) -> float:
        low, high = math.log10(self.low), math.log10(self.high)
        return (math.log10(max(value, self.low)) - low) / (high - low)


def log_scale(low: float, high: float, most: int = 6) -> LogScale:
    """An axis of positive values that begins and ends at powers of ten."""
    first = math.floor(math.log10(low) + 1e-9)
    last = max(first + 1, math.ceil(math.log10(high) - 1e-9))
    apart = math.ceil((last - first) / (most - 1))
    last = first + math.ceil((last - first) / apart) * apart
    ticks = tuple(10.0**power for power in range(first, last + 1, apart))
    return LogScale(ticks[0], ticks[-1], ticks)


def nice_ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """At most ``most`` (3 or more) round values, from one at or below ``low`` to one at or above
    ``high``. Raises ValueError for ends that are none."""
    if not (math.isfinite(low) and math.isfinite(high)) or low > high or most < 3:
        raise ValueError(f"no axis from {low} to {high} with {most} ticks")
    if low == high:
        low, high = (low - abs(low) / 2, high + abs(high) / 2) if low else (0.0, 1.0)
    power = 10.0 ** math.floor(math.log10((high - low) / (most - 1)))
    while True:
        for step in (factor * power for factor in _STEPS):
            first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
            if last - first < most:
                return tuple(float(f"{at * step:.12g}") for at in range(first, last + 1))
        power *= 10


def scale(low: float, high: float, most: int = 5) -> Scale:
    """An axis that ends at its first and last tick."""
    ticks = nice_ticks(low, high, most)
    return Scale(ticks[0], ticks[-1], ticks)


def words(ticks: Sequence[float]) -> tuple[str, ...]:
    """Ticks in words, all with the same digits after the point."""
    digits = next((d for d in range(9) if all(is_whole(tick * 10**d) for tick in ticks)), 9)
    return tuple(number(tick, digits) for tick in ticks)


def powers(ticks: Sequence[float]) -> tuple[str, ...]:
    """Powers of ten in words: 0.01, 1, 1,000, 10⁴."""
    return tuple(
        f"10{raised(round(math.log10(tick)))}" if tick > _MOST_PLAIN else f"{tick:,g}"
        for tick in ticks
    )


def raised(power: int) -> str:
    """An exponent."""
    return str(power).translate(_RAISED)


def number_axis(low: float, high: float, unit: str = "", most: int = 5) -> tuple[Tick, ...]:
    """Ticks of an axis of numbers that begins and ends at the data; the last one has the unit."""
    if low == high:
        return (Tick(50.0, f"{number(low)} {unit}".strip()),)
    span = Scale(low, high)
    inside = [tick for tick in nice_ticks(low, high, most) if low <= tick <= high]
    named = list(words(inside))
    if named and unit:
        named[-1] = f"{named[-1]} {unit}"
    last = len(inside) - 1
    return tuple(
        Tick(span.across(tick), name, wide=0 < index < last and index % 2 == 1)
        for index, (tick, name) in enumerate(zip(inside, named, strict=True))
    )


def time_axis(low: float, high: float, most: int = 6) -> tuple[Tick, ...]:
    """Ticks of an axis of times (seconds since 1970), at full seconds, minutes, hours or days of
    UTC. Seconds take more room, so there are fewer of them."""
    if low == high:
        return (Tick(50.0, _moment(low, high - low)),)
    span = Scale(low, high)
    step = next((s for s in _TIMES if (high - low) / s < (most if s >= _MINUTE else most - 2)), 0)
    step = step or math.ceil((high - low) / most / _DAY) * _DAY
    places = range(math.ceil(low / step) * step, math.floor(high) + 1, step)
    return tuple(
        Tick(span.across(at), _moment(at, step), wide=index % 2 == 1)
        for index, at in enumerate(places)
    )


def ticks_down(upright: Scale) -> tuple[Tick, ...]:
    """The ticks of an upright axis."""
    write = powers if isinstance(upright, LogScale) else words
    named = zip(upright.ticks, write(upright.ticks), strict=True)
    return tuple(Tick(upright.down(tick), name) for tick, name in named)


def ticks_across(flat: Scale) -> tuple[Tick, ...]:
    """The ticks of a lying axis."""
    named = enumerate(zip(flat.ticks, words(flat.ticks), strict=True))
    return tuple(
        Tick(flat.across(tick), name, wide=index % 2 == 1) for index, (tick, name) in named
    )


def path_of(flat: Scale, upright: Scale, points: Sequence[Point]) -> str:
    """A path through points, in the square of 1,000 by 1,000."""
    if not points:
        return ""
    places = [f"{_in_box(flat.across(x))} {_in_box(upright.down(y))}" for x, y in points]
    return "M" + "L".join(places)


def ring_of(flat: Scale, upright: Scale, bands: Sequence[Band]) -> str:
    """The outline of a band: along its foot, and back along its top."""
    if not bands:
        return ""
    foot = [(x, low) for x, low, _ in bands]
    top = [(x, high) for x, _, high in reversed(bands)]
    return path_of(flat, upright, foot + top) + "Z"


def _in_box(percent: float) -> int:
    return round(percent * _BOX / 100)


def _moment(at: float, step: float) -> str:
    moment = datetime.fromtimestamp(at, tz=UTC)
    if 0 < step < _MINUTE:
        return f"{moment:%H:%M:%S}"
    if step >= _DAY or (moment.hour, moment.minute) == (0, 0):
        return f"{moment.day} {moment:%b}"
    return f"{moment:%H:%M}"


def trim(value: float, digits: int = 2) -> float:
    """Rounded, without a minus before zero."""
    return round(value, digits) + 0.0


def is_whole(value: float) -> bool:
    """Whether a value is a whole number but for rounding."""
    return math.isclose(value, round(value), abs_tol=1e-6)
