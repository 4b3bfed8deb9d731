"""The sliding minute: never more than the limit in any 60 seconds, and hardly less."""

from __future__ import annotations

from bisect import bisect_left, bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.gateway.limits.window import SPAN_S, Window

gaps = st.lists(st.floats(0, 40, allow_nan=False), min_size=1, max_size=120)


def most_in_a_minute(times: list[float]) -> int:
    """The largest number of times within any half-open 60 seconds."""
    ordered = sorted(times)
    return max(bisect_left(ordered, at + SPAN_S) - place for place, at in enumerate(ordered))


@given(gaps, st.integers(1, 8), st.floats(0, 1e6))
def test_refused_or_within_the_limit(pauses: list[float], limit: int, start: float) -> None:
    window, now, admitted = Window(), start, []
    for pause in pauses:
        now += pause
        if not window.wait(now, limit):
            window.add(now, 1)
            admitted.append(now)
    assert most_in_a_minute(admitted) <= limit


@given(gaps, st.integers(1, 8), st.floats(0, 1e6))
def test_waiting_calls_keep_their_order_and_the_limit(
    pauses: list[float], limit: int, start: float
) -> None:
    window, now, slots = Window(), start, []
    for pause in pauses:
        now += pause
        wait = window.wait(now, limit)
        if wait <= 10:
            window.add(now + wait, 1)
            slots.append(now + wait)
    steps = [int(slot * 4) for slot in slots]
    assert steps == sorted(steps)
    assert most_in_a_minute([step / 4 for step in steps]) <= limit


@given(gaps, st.integers(1, 8))
def test_nothing_is_refused_that_an_exact_window_with_a_quarter_second_more_admits(
    pauses: list[float], limit: int
) -> None:
    window, now, admitted = Window(), 0.0, []
    for pause in pauses:
        now += pause
        recent = len(admitted) - bisect_right(admitted, now - SPAN_S - 0.25)
        if window.wait(now, limit):
            assert recent >= limit
        else:
            window.add(now, 1)
            admitted.append(now)


@given(gaps, st.integers(1, 8))
def test_the_wait_is_true(pauses: list[float], limit: int) -> None:
    window, now = Window(), 0.0
    for pause in pauses:
        now += pause
        if wait := window.wait(now, limit):
            now += wait
            assert window.wait(now, limit) == 0
        window.add(now, 1)


def test_amounts_above_the_limit_hold_until_enough_has_left() -> None:
    window = Window()
    window.add(0.0, 700)
    window.add(10.0, 50)
    assert window.wait(10.0, 100) == pytest.approx(50.25, abs=1e-3)
    assert window.used(10.0) == 750
    assert window.used(60.25) == 50
    assert window.wait(60.25, 100) == 0


def test_a_window_keeps_one_count_for_a_quarter_of_a_second() -> None:
    window = Window()
    for call in range(100_000):
        window.wait(call / 100, 10**9)
        window.add(call / 100, 1)
    assert window.used(999.99) == 100 * 60 + 25
    assert len(window._steps) <= 241
