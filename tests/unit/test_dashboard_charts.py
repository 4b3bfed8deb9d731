"""Numbers to coordinates: ticks, paths, bars, intervals, and the words beside them."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.dashboard.axes import Scale, nice_ticks, number_axis, scale, time_axis, words
from inhouse.dashboard.bars import (
    Bar,
    Interval,
    Sureness,
    bar_chart,
    histogram,
    interval_chart,
    reliability,
)
from inhouse.dashboard.charts import (
    Event,
    Rule,
    Series,
    area_chart,
    line_chart,
    shares,
    span,
)
from inhouse.dashboard.frames import Framing
from inhouse.dashboard.markup import open_templates

SAID = Framing(
    title="Score", unit="0 to 1", finding="It rose to 0.6", json="/v1/x", x_name="Step", digits=2
)
finite = st.floats(-1e9, 1e9, allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0, 1, (0, 0.25, 0.5, 0.75, 1)),
        (0, 100, (0, 25, 50, 75, 100)),
        (0.41, 0.79, (0.4, 0.5, 0.6, 0.7, 0.8)),
        (0, 743, (0, 200, 400, 600, 800)),
        (-3, 7, (-5, 0, 5, 10)),
        (5, 5, (2, 4, 6, 8)),
        (0, 0, (0, 0.25, 0.5, 0.75, 1)),
    ],
)
def test_ticks_are_round_and_hold_the_data(
    low: float, high: float, ticks: tuple[float, ...]
) -> None:
    assert nice_ticks(low, high) == ticks


@given(finite, finite, st.integers(3, 8))
def test_ticks_are_few_even_and_around_the_data(one: float, other: float, most: int) -> None:
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high, most)
    slack = 1e-6 * max(abs(low), abs(high), 1e-9)
    assert 2 <= len(ticks) <= most
    assert ticks[0] <= low + slack
    assert ticks[-1] >= high - slack
    gaps = [b - a for a, b in pairwise(ticks)]
    assert max(gaps) - min(gaps) <= 1e-6 * max(gaps)


@pytest.mark.parametrize("ends", [(1, 0), (math.nan, 1), (0, math.inf)])
def test_there_is_no_axis_over_nothing(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="no axis"):
        nice_ticks(*ends)


def test_ticks_say_as_many_digits_as_the_finest_one() -> None:
    assert words((0, 0.25, 0.5)) == ("0.00", "0.25", "0.50")
    assert words((-5, 0, 1000)) == ("−5", "0", "1,000")


def test_places_are_percent_from_the_left_and_from_the_top() -> None:
    axis = scale(0.4, 0.8)
    assert (axis.across(0.5), axis.down(0.5)) == (25, 75)
    assert [axis.down(tick) for tick in axis.ticks] == [100, 75, 50, 25, 0]


def test_an_axis_of_steps_ends_with_its_unit() -> None:
    ticks = number_axis(0, 800, "steps")
    assert [tick.label for tick in ticks] == ["0", "200", "400", "600", "800 steps"]
    assert [tick.at for tick in ticks] == [0, 25, 50, 75, 100]
    assert [tick.wide for tick in ticks] == [False, True, False, True, False]


def test_an_axis_of_times_stands_at_full_hours_and_days() -> None:
    day = 86_400 * 20_000
    hours = time_axis(day + 600, day + 86_400)
    assert [tick.label for tick in hours][:3] == ["06:00", "12:00", "18:00"]
    days = time_axis(day, day + 4 * 86_400)
    assert [tick.label for tick in days] == ["4 Oct", "5 Oct", "6 Oct", "7 Oct", "8 Oct"]
    months = time_axis(day, day + 400 * 86_400)
    assert 2 <= len(months) <= 7


def test_a_line_has_a_path_a_band_and_a_label_at_its_end() -> None:
    line = Series(
        name="validation",
        points=((0, 0.4), (100, 0.6)),
        bands=((0, 0.4, 0.5), (100, 0.5, 0.8)),
        note="0.50 to 0.80",
    )
    gate = Rule("gate 0.6", 0.6, "goal")
    chart = line_chart(
        SAID, [line, Series(name="none", points=())], rules=[gate], events=[Event(50, "epoch")]
    )
    (drawn,) = chart.lines
    assert drawn.path == "M0 1000L1000 500"
    assert drawn.band == "M0 1000L1000 750L1000 0L0 750Z"
    assert (drawn.x, drawn.y, drawn.value) == (100, 50, "0.60")
    assert [tick.label for tick in chart.down] == ["0.4", "0.5", "0.6", "0.7", "0.8"]
    assert chart.rules == ((50, gate),)
    assert chart.events[0].at == 50
    assert chart.frame.heads == ("Step", "validation")
    assert chart.frame.rows == (("0", "0.40"), ("100", "0.60"))


def test_labels_at_the_ends_of_lines_keep_apart() -> None:
    lines = [Series(name=str(i), points=((0, 0), (1, 1 + i / 1000))) for i in range(3)]
    chart = line_chart(SAID, lines)
    at = sorted(one.y / 100 * SAID.height + one.nudge for one in chart.lines)
    assert all(b - a >= 15.9 for a, b in pairwise(at))


def test_a_line_without_points_needs_bounds() -> None:
    with pytest.raises(ValueError, match="needs bounds"):
        line_chart(SAID, [])
    assert line_chart(SAID, [], bounds=(0, 1)).lines == ()


def test_a_single_point_stands_somewhere() -> None:
    chart = line_chart(SAID, [Series(name="one", points=((7, 0.5),))], bounds=(0, 1))
    assert (chart.lines[0].x, chart.lines[0].y) == (0, 50)


def test_areas_stack_up_to_the_whole() -> None:
    parts = [("own", "own", (0, 3)), ("general", "general", (4, 1)), ("api", "external", (0, 0))]
    chart = area_chart(SAID, (0, 1), parts)
    assert [area.path for area in chart.areas] == [
        "M0 1000L1000 1000L1000 250L0 1000Z",
        "M0 1000L1000 250L1000 0L0 0Z",
        "M0 0L1000 0L1000 0L0 0Z",
    ]
    assert [area.value for area in chart.areas] == ["75.0 %", "25.0 %", "0.0 %"]
    assert chart.frame.rows[1] == ("1", "3.00", "1.00", "0.00")


def test_bars_start_at_zero() -> None:
    chart = bar_chart(SAID, [Bar(name="a", value=50), Bar(name="b", value=100)])
    assert [(one.width, one.y, one.height) for one in chart.bars] == [(50, 10, 30), (100, 60, 30)]
    standing = histogram(SAID, [Bar(name="09:00", value=30, look="bad"), Bar(name="", value=0)])
    assert [(one.x, one.y, one.height) for one in standing.bars] == [(0, 0, 100), (50, 100, 0)]
    assert histogram(SAID, []).bars == ()


def test_intervals_show_what_was_measured_only() -> None:
    measured = Interval(name="own", value=0.8, low=0.7, high=0.9)
    chart = interval_chart(SAID, [measured, Interval(name="floor", value=0.5)], bounds=(0, 1))
    own, floor = chart.rows
    assert (own.low, own.at, own.high) == (70, 80, 90)
    assert own.text == "0.80 (0.70 to 0.90)"
    assert (floor.low, floor.high, floor.text) == (50, 50, "0.50")


def test_reliability_leaves_empty_bins_out() -> None:
    bins = [
        Sureness(confidence=0.9, accuracy=0.8, low=0.7, high=0.9, count=40),
        Sureness(confidence=0.1, accuracy=0, low=0, high=1, count=0),
    ]
    chart = reliability(SAID, bins)
    assert chart.points == ((90, 20, 10, 30),)
    assert chart.frame.rows == (("0.90", "0.80", "0.70 to 0.90", "40"),)


def test_places_in_cells_stay_in_them() -> None:
    assert span(None, None, None, (0, 1)) is None
    assert span(0.5, 0.4, 1.4, (0, 1)) == (50, 40, 100)
    assert shares([2, 1, 1]) == ((0, 50), (50, 25), (75, 25))
    assert shares([0, 0]) == ((0, 0), (0, 0))


def test_the_macros_draw_every_kind_of_chart() -> None:
    charts = open_templates().globals["charts"]
    line = Series(name="a<b", points=((0, 0.4), (9, 0.6)), bands=((0, 0.3, 0.5), (9, 0.5, 0.7)))
    drawn = [
        charts.line(line_chart(SAID, [line], rules=[Rule("gate", 0.5, "goal")])),
        charts.areas(area_chart(SAID, (0, 1), [("own", "own", (1, 1))])),
        charts.bars(bar_chart(SAID, [Bar(name="a", value=1)])),
        charts.histogram(histogram(SAID, [Bar(name="a", value=1)])),
        charts.intervals(interval_chart(SAID, [Interval(name="a", value=1, low=0, high=2)])),
        charts.reliability(
            reliability(SAID, [Sureness(confidence=1, accuracy=1, low=0, high=1, count=1)])
        ),
    ]
    for chart in drawn:
        assert 'role="img" aria-label="It rose to 0.6"' in chart
        assert 'href="/v1/x"' in chart
        assert "a<b" not in chart
        assert not re.search(r"\sstyle=|nan|None|Undefined", chart)


def test_an_axis_can_be_asked_for_places_outside() -> None:
    assert Scale(0, 10).across(12) == 120
