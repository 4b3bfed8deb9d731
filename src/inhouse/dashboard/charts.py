"""Numbers to coordinates: pure functions that feed the chart macros.

A chart's box is its plot area. Points, rules and texts stand at percentages of it, from the left
and from the top; paths live in a square of 1,000 by 1,000 that is stretched over it. ``x`` values
are numbers, such as steps, or seconds since 1970 with ``across=time_axis(...)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from inhouse.dashboard.axes import (
    Band,
    Point,
    Scale,
    Tick,
    log_scale,
    number_axis,
    path_of,
    ring_of,
    scale,
    ticks_down,
    trim,
)
from inhouse.dashboard.figures import NOT_MEASURED, number
from inhouse.dashboard.frames import Frame, Framing, frame_of, named, written

_LABEL: Final = 16
_NOTE: Final = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A line. ``look``: own, general, external, good, bad, limit (dashed). ``bands`` are intervals
    around it; ``note`` stands under the label at its end. ``is_fill``: the area under it too."""

    name: str
    points: Sequence[Point]
    look: str = "own"
    bands: Sequence[Band] = ()
    note: str = ""
    is_thin: bool = False
    is_fill: bool = False


@dataclass(frozen=True, slots=True)
class Dot:
    """A point with words. ``look`` as of lines."""

    x: float
    y: float
    name: str
    look: str = "own"


@dataclass(frozen=True, slots=True)
class Rule:
    """A dashed line at a value, with its name. ``look``: goal, limit, mark."""

    name: str
    value: float
    look: str = "mark"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at an x."""

    x: float
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnLine:
    """A line in the box, its band, and where its label stands."""

    name: str
    look: str
    path: str
    band: str
    x: float
    y: float
    value: str
    note: str
    is_thin: bool
    nudge: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LineChart:
    """Lines over one axis."""

    frame: Frame
    down: tuple[Tick, ...]
    across: tuple[Tick, ...]
    lines: tuple[DrawnLine, ...]
    rules: tuple[tuple[float, Rule], ...] = ()
    events: tuple[Tick, ...] = ()
    dots: tuple[Dot, ...] = ()
    """Places in percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """One part of a stack."""

    name: str
    look: str
    path: str
    y: float
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaChart:
    """Shares that add up to 1, over time."""

    frame: Frame
    down: tuple[Tick, ...]
    across: tuple[Tick, ...]
    areas: tuple[Area, ...]


def line_chart(
    framing: Framing,
    series: Sequence[Series],
    *,
    across: Sequence[Tick] | None = None,
    rules: Sequence[Rule] = (),
    events: Sequence[Event] = (),
    dots: Sequence[Dot] = (),
    bounds: tuple[float, float] | None = None,
    x_bounds: tuple[float, float] | None = None,
    is_log: bool = False,
) -> LineChart:
    """Lines with their bands. ``bounds`` is the range of the score axis, otherwise that of the
    data; ``across`` the ticks of the other one, otherwise numbers. ``is_log``: the score axis has
    powers of ten, and its values are positive. Lines without points are left out. Raises
    ValueError when nothing is left and no bounds are given."""
    drawn = [line for line in series if line.points]
    low, high = bounds or _range(drawn, rules)
    upright = log_scale(low, high) if is_log else scale(low, high)
    left, right = x_bounds or _x_range(drawn)
    flat = Scale(left, right if right > left else left + 1)
    lines = tuple(_draw(line, flat, upright, framing) for line in drawn)
    return LineChart(
        frame=frame_of(framing, *_table(framing, drawn)),
        down=ticks_down(upright),
        across=tuple(number_axis(left, right) if across is None else across),
        lines=_apart(lines, framing.height),
        rules=tuple((upright.down(rule.value), rule) for rule in rules),
        events=tuple(Tick(flat.across(event.x), event.name) for event in events),
        dots=tuple(Dot(flat.across(d.x), upright.down(d.y), d.name, d.look) for d in dots),
    )


def area_chart(
    framing: Framing,
    x: Sequence[float],
    parts: Sequence[tuple[str, str, Sequence[float]]],
    *,
    across: Sequence[Tick] | None = None,
) -> AreaChart:
    """Shares over time, stacked from the base line up: name, look (own, general, external) and one
    share per x. Shares are brought to a sum of 1; an x where all are 0 stays empty."""
    flat = Scale(x[0], x[-1] if x[-1] > x[0] else x[0] + 1)
    sums = [sum(values) or 1.0 for values in zip(*(part[2] for part in parts), strict=True)]
    below = [0.0] * len(x)
    areas = []
    for name, look, values in parts:
        shares = [value / total for value, total in zip(values, sums, strict=True)]
        above = [at + share for at, share in zip(below, shares, strict=True)]
        path = ring_of(flat, Scale(0, 1), list(zip(x, below, above, strict=True)))
        middle = trim(100 * (1 - (below[-1] + above[-1]) / 2))
        value = f"{number(shares[-1] * 100, 1)} %"
        areas.append(Area(name=name, look=look, path=path, y=middle, value=value))
        below = above
    heads = (framing.x_name, *(name for name, _, _ in parts))
    rows = tuple(
        (named(framing, at), *(number(part[2][index], framing.digits) for part in parts))
        for index, at in enumerate(x)
    )
    ticks = tuple(Tick(100 - share, f"{share} %") for share in (0, 25, 50, 75, 100))
    drawn = tuple(number_axis(x[0], x[-1]) if across is None else across)
    frame = frame_of(framing, heads, rows)
    return AreaChart(frame=frame, down=ticks, across=drawn, areas=tuple(areas))


def span(
    value: float | None, low: float | None, high: float | None, bounds: tuple[float, float]
) -> tuple[float, float, float] | None:
    """Place, low and high end of a value in a table's cell, in percent; None when not measured."""
    if value is None:
        return None
    flat = Scale(*bounds)
    ends = (value, value if low is None else low, value if high is None else high)
    at, first, last = (min(max(flat.across(end), 0.0), 100.0) for end in ends)
    return at, first, last


def shares(values: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Start and width of each part of a bar, in percent; nothing when all are 0."""
    total, start, parts = sum(values), 0.0, []
    for value in values:
        width = 100 * value / total if total else 0.0
        parts.append((trim(start), trim(width)))
        start += width
    return tuple(parts)


def _draw(line: Series, flat: Scale, upright: Scale, framing: Framing) -> DrawnLine:
    x, y = line.points[-1]
    bands = [(at, upright.low, value) for at, value in line.points] if line.is_fill else line.bands
    return DrawnLine(
        name=line.name,
        look=line.look,
        path=path_of(flat, upright, line.points),
        band=ring_of(flat, upright, bands),
        x=flat.across(x),
        y=upright.down(y),
        value=written(framing, y),
        note=line.note,
        is_thin=line.is_thin,
    )


def _apart(lines: tuple[DrawnLine, ...], height: int) -> tuple[DrawnLine, ...]:
    """Labels at the ends of lines, moved by pixels where they would meet: down, and from the foot
    of the box up again."""
    ordered = sorted(lines, key=lambda one: one.y)
    placed: dict[str, float] = {}
    free = -math.inf
    for line in ordered:
        placed[line.name] = max(line.y / 100 * height, free)
        free = placed[line.name] + _room(line)
    end = float(height)
    for line in reversed(ordered):
        low = end - (_room(line) - _LABEL if line.note else 0)
        placed[line.name] = min(placed[line.name], low)
        end = placed[line.name] - _LABEL
    return tuple(
        replace(line, nudge=round(placed[line.name] - line.y / 100 * height, 1)) for line in lines
    )


def _room(line: DrawnLine) -> int:
    """Pixels that the label of a line needs."""
    return _LABEL + _NOTE if line.note else _LABEL


def _range(series: Sequence[Series], rules: Sequence[Rule]) -> tuple[float, float]:
    values = [y for line in series for _, y in line.points]
    values += [end for line in series for _, low, high in line.bands for end in (low, high)]
    if not values:
        raise ValueError("a chart without points needs bounds")
    values += [rule.value for rule in rules]
    return min(values), max(values)


def _x_range(series: Sequence[Series]) -> tuple[float, float]:
    values = [x for line in series for x, _ in line.points]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _table(
    framing: Framing, series: Sequence[Series]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    places = sorted({x for line in series for x, _ in line.points})
    values = [dict(line.points) for line in series]
    rows = tuple(
        (
            named(framing, x),
            *(written(framing, v[x]) if x in v else NOT_MEASURED for v in values),
        )
        for x in places
    )
    return (framing.x_name, *(line.name for line in series)), rows
