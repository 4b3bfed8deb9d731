"""How pages write numbers and times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from markupsafe import Markup

from inhouse.dashboard import figures


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (22_389, 0, "22,389"),
        (0.834, 2, "0.83"),
        (-0.05, 2, "−0.05"),
        (-0.001, 2, "0.00"),
        (0, 0, "0"),
        (None, 2, "–"),
    ],
)
def test_numbers(value: float | None, digits: int, text: str) -> None:
    assert figures.number(value, digits) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0029, "2.9 ms"),
        (1.638, "1,638 ms"),
        (42.4, "42 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (7200, "2 h"),
        (18_600, "5 h 10 min"),
        (3 * 86_400 + 4 * 3600, "3 d 4 h"),
        (None, "–"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert figures.duration(seconds) == text


def test_shares_sizes_money_and_intervals() -> None:
    assert (figures.percent(0.681), figures.percent(None)) == ("68.1 %", "–")
    assert [figures.size(n) for n in (0, 999, 4_200_000, 2.4e9)] == [
        "0 B",
        "999 B",
        "4.2 MB",
        "2.4 GB",
    ]
    assert (figures.cost(11.26), figures.cost(0.0042), figures.cost(0)) == (
        "11.26",
        "0.0042",
        "0.00",
    )
    assert (figures.interval(0.8, 0.86), figures.interval(None, 1)) == ("0.80 to 0.86", "–")
    assert (figures.plural(1, "task"), figures.plural(2, "entry", "entries")) == (
        "1 task",
        "2 entries",
    )


def test_times_carry_their_zone_for_the_script() -> None:
    east = timezone(timedelta(hours=2))
    at = datetime(2026, 1, 1, 12, 0, 5, 250_000, tzinfo=east)
    shown = '<time datetime="2026-01-01T10:00:05.250Z">2026-01-01 10:00:05 UTC</time>'
    assert figures.instant(at) == shown
    assert figures.instant(at.astimezone(UTC).isoformat()) == shown
    assert figures.instant(None) == figures.instant("") == "–"


def test_messages_become_sentences_with_code() -> None:
    assert figures.sentence("run `a <b>` now") == "Run <code>a &lt;b&gt;</code> now."
    assert figures.sentence("is it running?") == "Is it running?"
    assert figures.sentence("one ` alone") == "One ` alone."
    assert figures.sentence("") == ""
    assert figures.sentence(Markup("<b>it</b> {}").format("<i>")) == "<b>it</b> &lt;i&gt;."
