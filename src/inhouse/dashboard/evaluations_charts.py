"""Charts of evaluations and training runs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from inhouse.dashboard.bars import ReliabilityChart, Sureness, reliability
from inhouse.dashboard.charts import LineChart, Rule, Series, line_chart
from inhouse.dashboard.evaluations_view import trust_sentence, value_sentence
from inhouse.dashboard.frames import Framing
from inhouse.dashboard.training_view import Curves
from inhouse.evaluation.report import Point

_HEIGHT: Final = 230
_NAMES: Final[Mapping[str, str]] = {
    "loss": "training",
    "train_loss": "training",
    "valid_loss": "validation",
    "score": "score",
    "train_score": "training",
    "valid_score": "validation",
}


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


def curve_charts(curves: Curves, json: str, gate: float | None = None) -> list[LineChart]:
    """Losses and scores of a run; those that it has not reported are left out."""
    losses = curves.of("train_loss", "loss", "valid_loss")
    scores = curves.of("train_score", "valid_score", "score")
    made = []
    if losses:
        made.append(_curves("Loss", f"lower is better; by {curves.axis}", losses, curves, json))
    if scores:
        rules = [] if gate is None else [Rule("gate", gate, "goal")]
        unit = f"higher is better, the axis follows the data; by {curves.axis}"
        made.append(_curves("Score on validation", unit, scores, curves, json, rules))
    return made


def _curves(
    title: str,
    unit: str,
    lines: Mapping[str, Sequence[tuple[float, float]]],
    curves: Curves,
    json: str,
    rules: Sequence[Rule] = (),
) -> LineChart:
    last = {name: points[-1] for name, points in lines.items()}
    told = ", ".join(
        f"{_NAMES.get(name, name)} {y:.3f} at {curves.axis} {x:g}" for name, (x, y) in last.items()
    )
    framing = Framing(
        title=title,
        unit=unit,
        finding=f"{title}: {told}",
        json=json,
        height=220,
        digits=3,
        x_name=curves.axis.capitalize(),
    )
    series = [
        Series(
            name=_NAMES.get(name, name),
            points=points,
            look="general" if name in ("train_loss", "loss", "train_score") else "own",
            is_thin=name in ("train_loss", "loss", "train_score"),
        )
        for name, points in lines.items()
    ]
    return line_chart(framing, series, rules=rules)
