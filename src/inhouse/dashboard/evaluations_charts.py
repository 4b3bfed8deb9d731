"""Charts of evaluations and training runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from inhouse.dashboard.bars import ReliabilityChart, Sureness, reliability
from inhouse.dashboard.charts import LineChart, Series, line_chart
from inhouse.dashboard.evaluations_view import trust_sentence, value_sentence
from inhouse.dashboard.frames import Framing
from inhouse.dashboard.training_view import Curve, Curves
from inhouse.evaluation.report import Point

_HEIGHT: Final = 230


def trust_chart(points: Sequence[Point], json: str) -> ReliabilityChart | None:
    """How often a choice was right, against how sure it was; None without probabilities."""
    if not points:
        return None
    framing = Framing(
        title="Reliability",
        unit="how often it was right, against how sure it was; 95 % intervals",
        finding=trust_sentence(points),
        json=json,
        height=_HEIGHT,
        x_name="How sure",
    )
    bins = [
        Sureness(confidence=p.said, accuracy=p.true, low=p.low, high=p.high, count=p.n)
        for p in points
    ]
    return reliability(framing, bins)


def value_chart(points: Sequence[Point], json: str) -> LineChart | None:
    """The mean true value of a score, against what was said; None without answers."""
    if not points:
        return None
    framing = Framing(
        title="Truth against answer",
        unit="mean true value of a tenth of the texts; band: 95 % interval",
        finding=value_sentence(points),
        json=json,
        height=_HEIGHT,
        x_name="Said",
    )
    true = Series(
        name="true",
        points=[(p.said, p.true) for p in points],
        bands=[(p.said, p.low, p.high) for p in points],
    )
    perfect = Series(
        name="perfect", points=[(p.said, p.said) for p in points], look="general", is_thin=True
    )
    return line_chart(framing, [true, perfect])


def curve_charts(curves: Curves, json: str) -> list[LineChart]:
    """Losses and scores of a run; those that it has not reported are left out."""
    made = []
    if curves.losses:
        made.append(_curves("Training loss", "lower is better; by epoch", curves.losses, json))
    if curves.scores:
        unit = "higher is better, the axis follows the data; by epoch"
        made.append(_curves("Score on validation", unit, curves.scores, json))
    return made


def _curves(title: str, unit: str, parts: Mapping[str, Curve], json: str) -> LineChart:
    """One line a part; the one that came last stands out."""
    present = list(parts)[-1]
    x, y = parts[present][-1]
    framing = Framing(
        title=title,
        unit=unit,
        finding=f"{title}: {y:.3f} after epoch {x:g} of {present}",
        json=json,
        height=220,
        digits=3,
        x_name="Epoch",
    )
    series = [
        Series(
            name=part,
            points=points,
            look="own" if part == present else "general",
            is_thin=part != present,
        )
        for part, points in parts.items()
    ]
    return line_chart(framing, series)
