"""Charts of bars, intervals and reliability: pure functions that feed the chart macros."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inhouse.dashboard.axes import (
    Scale,
    Tick,
    path_of,
    scale,
    ticks_across,
    ticks_down,
    trim,
)
from inhouse.dashboard.charts import Rule
from inhouse.dashboard.figures import number
from inhouse.dashboard.frames import Frame, Framing, frame_of

_ROW: Final = 30
"""Height of a row, in pixels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """A bar: a name, a value from 0 on, and what stands at its end."""

    name: str
    value: float
    text: str = ""
    look: str = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnBar:
    """A bar in the box. ``x``, ``y``, ``width`` and ``height`` are percent."""

    bar: Bar
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BarChart:
    """Bars that start at 0: lying, with names (``bars``), or standing side by side
    (``histogram``)."""

    frame: Frame
    ticks: tuple[Tick, ...]
    bars: tuple[DrawnBar, ...]
    across: tuple[Tick, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A value with its interval; ``low`` and ``high`` are None when nobody worked them out."""

    name: str
    value: float
    low: float | None = None
    high: float | None = None
    look: str = "own"
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnInterval:
    """An interval in the box: percent from the left, pixels from the top."""

    interval: Interval
    at: float
    low: float
    high: float
    y: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IntervalChart:
    """Values with whiskers on one axis, one row each."""

    frame: Frame
    across: tuple[Tick, ...]
    rows: tuple[DrawnInterval, ...]
    rules: tuple[tuple[float, Rule], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sureness:
    """One bin of a reliability plot: mean ``confidence``, share of right answers with its
    interval, and of how many answers."""

    confidence: float
    accuracy: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReliabilityChart:
    """How often it was right, against how sure it was."""

    frame: Frame
    ticks: tuple[Tick, ...]
    path: str
    points: tuple[tuple[float, float, float, float], ...]
    """x, y, top and foot of the whisker."""


def bar_chart(framing: Framing, bars: Sequence[Bar]) -> BarChart:
    """Lying bars with their names, one row each; the height follows from their number."""
    flat = scale(0, max([bar.value for bar in bars], default=1) or 1)
    row = 100 / max(len(bars), 1)
    drawn = tuple(
        DrawnBar(
            bar=bar,
            x=0,
            y=trim(row * (index + 0.2)),
            width=flat.across(bar.value),
            height=trim(row * 0.6),
        )
        for index, bar in enumerate(bars)
    )
    rows = tuple((bar.name, bar.text or number(bar.value, framing.digits)) for bar in bars)
    frame = frame_of(framing, (framing.x_name, framing.unit), rows, height=_ROW * max(len(bars), 1))
    return BarChart(frame=frame, ticks=ticks_across(flat), bars=drawn)


def histogram(framing: Framing, bars: Sequence[Bar], *, across: Sequence[Tick] = ()) -> BarChart:
    """Standing bars side by side, such as calls per half hour; look ``bad`` marks one."""
    upright = scale(0, max([bar.value for bar in bars], default=1) or 1, most=4)
    width = 100 / max(len(bars), 1)
    drawn = tuple(
        DrawnBar(
            bar=bar,
            x=trim(index * width),
            y=upright.down(bar.value),
            width=trim(width * 0.78),
            height=trim(100 - upright.down(bar.value)),
        )
        for index, bar in enumerate(bars)
    )
    rows = tuple((bar.name, bar.text or number(bar.value, framing.digits)) for bar in bars)
    frame = frame_of(framing, (framing.x_name, framing.unit), rows)
    return BarChart(frame=frame, ticks=ticks_down(upright), bars=drawn, across=tuple(across))


def interval_chart(
    framing: Framing,
    intervals: Sequence[Interval],
    *,
    bounds: tuple[float, float] | None = None,
    rules: Sequence[Rule] = (),
) -> IntervalChart:
    """Values with whiskers, one row each. The axis starts where the data does; say so in the
    unit."""
    low, high = bounds or (
        min([i.value if i.low is None else i.low for i in intervals], default=0),
        max([i.value if i.high is None else i.high for i in intervals], default=1),
    )
    flat = scale(low, high)
    drawn = tuple(
        DrawnInterval(
            interval=one,
            at=flat.across(one.value),
            low=flat.across(one.value if one.low is None else one.low),
            high=flat.across(one.value if one.high is None else one.high),
            y=_ROW * index + _ROW / 2,
            text=_interval_text(one, framing.digits),
        )
        for index, one in enumerate(intervals)
    )
    rows = tuple((row.interval.name, row.text, row.interval.note) for row in drawn)
    heads = (framing.x_name, "Value and interval", "Note")
    frame = frame_of(framing, heads, rows, height=_ROW * max(len(intervals), 1))
    marks = tuple((flat.across(rule.value), rule) for rule in rules)
    return IntervalChart(frame=frame, across=ticks_across(flat), rows=drawn, rules=marks)


def reliability(framing: Framing, bins: Sequence[Sureness]) -> ReliabilityChart:
    """How often it was right against how sure it was; empty bins are left out."""
    unit = Scale(0, 1)
    full = [one for one in bins if one.count]
    points = tuple(
        (
            unit.across(one.confidence),
            unit.down(one.accuracy),
            unit.down(one.high),
            unit.down(one.low),
        )
        for one in full
    )
    rows = tuple(
        (
            number(one.confidence, 2),
            number(one.accuracy, 2),
            f"{number(one.low, 2)} to {number(one.high, 2)}",
            number(one.count),
        )
        for one in full
    )
    heads = ("How sure", "How often right", "95 % interval", "Answers")
    ticks = tuple(Tick(trim(25.0 * i), ("0", "0.25", "0.50", "0.75", "1")[i]) for i in range(5))
    path = path_of(unit, unit, [(one.confidence, one.accuracy) for one in full])
    return ReliabilityChart(
        frame=frame_of(framing, heads, rows), ticks=ticks, path=path, points=points
    )


def _interval_text(one: Interval, digits: int) -> str:
    value = number(one.value, digits)
    if one.low is None or one.high is None:
        return value
    return f"{value} ({number(one.low, digits)} to {number(one.high, digits)})"
