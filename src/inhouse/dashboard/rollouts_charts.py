"""The charts of a rollout, all over the same time: weight, certified loss, evidence. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from inhouse.dashboard.axes import Point, Tick, time_axis
from inhouse.dashboard.charts import Dot, Event, LineChart, Rule, Series, line_chart
from inhouse.dashboard.figures import number
from inhouse.dashboard.frames import Frame, Framing
from inhouse.dashboard.rollouts_words import KINDS, evidence, weight
from inhouse.rollout.history import Moment
from inhouse.rollout.plan import Metric, Plan, RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord

_FLOOR: Final = 0.01
_ROWS: Final = 40
"""Rows of a table of numbers at most: the page is drawn anew with every change."""
_APART: Final = 0.09
"""Share of the width that words need."""
_LOOKS: Final[Mapping[str, str]] = {
    "pause": "general",
    "resume": "general",
    "hold": "external",
    "roll_back": "bad",
    "abort": "bad",
}
_SHORT: Final[Mapping[Metric, str]] = {
    Metric.SUCCESS: "failed",
    Metric.CORRECT: "wrong",
    Metric.ERROR: "error",
    Metric.P95: "p95",
    Metric.P99: "p99",
}
_FRESH: Final = ("ramp", "bake")


@dataclass(frozen=True, slots=True)
class _Story:
    """What all charts share: the rollout, its decisions, readings, and the time that is shown."""

    rollout: RolloutRecord
    decisions: Sequence[DecisionRecord]
    moments: Sequence[Moment]
    until: float

    @property
    def bounds(self) -> tuple[float, float]:
        start = self.rollout.created_at.timestamp()
        return start, max(self.until, start + 1.0)

    def framing(self, title: str, unit: str, finding: str, **more: Any) -> Framing:
        path = f"/v1/rollouts/{self.rollout.id}/readings"
        return Framing(
            title=title, unit=unit, finding=finding, json=path, x_name="Time", named=_moment, **more
        )

    @property
    def baked_at(self) -> float:
        """When the bake period began; its evidence begins anew, and certifies nothing."""
        found = [one.created_at.timestamp() for one in self.decisions if one.kind == "bake"]
        return found[0] if found else math.inf

    def is_baked(self, at: datetime) -> bool:
        """Whether a moment lies in the bake period."""
        return at.timestamp() > self.baked_at

    def marks(self) -> list[Event]:
        """Every change of the weight, without words."""
        moved = [one for one in self.decisions if one.kind in ("ramp", "advance", "bake")]
        return [Event(one.created_at.timestamp(), "") for one in moved]


def charts_of(
    rollout: RolloutRecord,
    decisions: Sequence[DecisionRecord],
    moments: Sequence[Moment],
    now: datetime,
) -> list[LineChart]:
    """Weight, certified loss, evidence of harm and for the next step, as far as there is any."""
    until = (rollout.ended_at or now).timestamp()
    story = _Story(rollout, decisions, moments, until)
    found = [_weights(story)]
    if any("candidate" in one.reading for one in moments):
        found.append(_loss(story))
    if moments:
        found += [_harm(story), _certificate(story)]
    return [replace(one, frame=_shortened(one.frame)) for one in found]


def _shortened(frame: Frame) -> Frame:
    """A table of numbers with rows at even distances, the newest among them; the JSON has all."""
    apart = max(1, math.ceil(len(frame.rows) / _ROWS))
    return replace(frame, rows=frame.rows[::-1][::apart][::-1])


def _weights(story: _Story) -> LineChart:
    places = [(one.created_at.timestamp(), one.weight_bp / 100) for one in story.decisions]
    points = _stairs([*places, (story.bounds[1], places[-1][1])])
    words = ", ".join(weight(one.weight_bp) for one in story.decisions)
    framing = story.framing(
        f"Weight of {story.rollout.candidate}",
        "share of calls; a dot is a decision; times are UTC",
        f"Weights so far: {words}",
        height=140,
        written=lambda percent: f"{percent:g} %",
    )
    drawn = line_chart(
        framing,
        [Series(name="", points=points, is_fill=True)],
        across=time_axis(*story.bounds),
        dots=_dots(story),
        bounds=(0.0, 100.0),
        x_bounds=story.bounds,
    )
    return replace(drawn, down=(Tick(0, "100 %"), Tick(50, "50 %"), Tick(100, "0 %")))


def _loss(story: _Story) -> LineChart:
    plan, start = story.rollout.plan, story.bounds[0]
    limits = _limits(story)
    top = max([value for _, value in limits], default=plan.margin_after(0))
    certified = [
        (one.at.timestamp(), float(one.reading.get("certified", 1.0)))
        for one in story.moments
        if "candidate" in one.reading and not story.is_baked(one.at)
    ]
    known = [(at, value) for at, value in certified if value < 1.0]
    newest = certified[-1][1] if certified else 1.0
    if known:
        known.append((story.bounds[1], known[-1][1]))
    needed = limits[-1][1] if limits else plan.margin_after(story.rollout.step)
    now = f"certified at most {number(newest, 3)}" if newest < 1.0 else "nothing certified yet"
    framing = story.framing(
        "Certified loss",
        "how much worse the candidate can be, as a share of calls; valid at every moment",
        f"{now[:1].upper()}{now[1:]}; the next step needs {number(needed, 3)}",
        height=180,
        digits=3,
    )
    over = story.rollout.is_over or story.baked_at < math.inf
    lines = [
        Series(name="certified", points=_stairs(known), note="at most"),
        Series(
            name="limit",
            points=_stairs(limits),
            look="limit",
            note="" if over else "to go on",
        ),
    ]
    return line_chart(
        framing,
        lines,
        across=time_axis(*story.bounds),
        events=story.marks(),
        bounds=(0.0, max(top, *(value for _, value in known), 0.0) if known else top),
        x_bounds=(start, story.bounds[1]),
    )


def _harm(story: _Story) -> LineChart:
    limit = 1.0 / story.rollout.plan.false_rollback
    name = "harm" if story.rollout.is_shadow else "average"
    series = [_line(story, "harm", name, "bad"), _line(story, "fresh", "fresh", "limit")]
    for metric in story.rollout.plan.guardrails:
        points = _of_metric(story, metric)
        if points and len(story.rollout.plan.guardrails) > 1:
            one = Series(name=_SHORT[metric], points=points, look="general", is_thin=True)
            series.append(one)
    last = series[0].points[-1][1]
    framing = story.framing(
        "Evidence of harm",
        "e-values on a log scale; the average over the guardrails decides; fresh: begun later",
        f"The average is {evidence(last)}; it rolls back at {number(limit)}",
        height=220,
        written=evidence,
    )
    return _log(story, framing, series, Rule(f"rolls back at {number(limit)}", limit, "limit"))


def _certificate(story: _Story) -> LineChart:
    needed = 1.0 / story.rollout.plan.false_promotion
    series = [_line(story, "certificate", "not worse", "own")]
    last = series[0].points[-1][1]
    framing = story.framing(
        "Evidence that it is not worse",
        "e-value on a log scale; what is certified stays, later steps ask for a smaller margin",
        f"The evidence is {evidence(last)}; a step needs {number(needed)}",
        height=180,
        written=evidence,
    )
    return _log(story, framing, series, Rule(f"a step needs {number(needed)}", needed, "goal"))


def _log(story: _Story, framing: Framing, series: Sequence[Series], rule: Rule) -> LineChart:
    values = [value for line in series for _, value in line.points]
    low = max(_FLOOR, min(0.5, *values))
    return line_chart(
        framing,
        series,
        across=time_axis(*story.bounds),
        rules=[rule],
        events=story.marks(),
        bounds=(low, max(rule.value * 2.0, *values)),
        x_bounds=story.bounds,
        is_log=True,
    )


def _line(story: _Story, field: str, name: str, look: str) -> Series:
    """A field of the readings, which stays as it is until something is counted; where the evidence
    begins anew, from 1 on."""
    fresh = ("ramp",) if field == "certificate" else _FRESH
    start = 1.0 if field != "fresh" else _FLOOR
    points = [
        (one.at.timestamp(), max(_FLOOR, float(one.reading[field])))
        for one in story.moments
        if field in one.reading and not (field == "certificate" and story.is_baked(one.at))
    ]
    if points:
        points.append((story.bounds[1], points[-1][1]))
    anew = [one.created_at.timestamp() for one in story.decisions if one.kind in fresh]
    points += [(at, start) for at in anew if any(x > at for x, _ in points)]
    return Series(name=name, points=sorted(points), look=look, is_thin=field == "fresh")


def _of_metric(story: _Story, metric: Metric) -> list[Point]:
    found = [
        (one.at.timestamp(), part)
        for one in story.moments
        for part in one.reading.get("guardrails", ())
        if part["metric"] == metric
    ]
    if not any(part["outcomes"] for _, part in found):
        return []
    points = [(at, max(_FLOOR, float(part["harm"]))) for at, part in found]
    return [*points, (story.bounds[1], points[-1][1])]


def _limits(story: _Story) -> list[Point]:
    """The margin that had to be certified before each next step."""
    plan: Plan = story.rollout.plan
    found = [
        (one.created_at.timestamp(), plan.margin_after(one.step))
        for one in story.decisions
        if one.state is RolloutState.RAMPING
    ]
    return [*found, (story.bounds[1], found[-1][1])] if found else []


def _stairs(points: Sequence[Point]) -> list[Point]:
    """A line that stays until the next point, and steps there."""
    found: list[Point] = []
    for at, value in points:
        if found and found[-1][1] != value:
            found.append((at, found[-1][1]))
        found.append((at, value))
    return found


def _dots(story: _Story) -> list[Dot]:
    """A dot for every decision; words where there is room for them."""
    low, high = story.bounds
    dots, free = [], low
    for one in story.decisions:
        at, look = one.created_at.timestamp(), _LOOKS.get(one.kind, "own")
        named = at >= free and at + _APART * (high - low) < high
        word = weight(one.weight_bp) if look == "own" else KINDS[one.kind][1]
        if named:
            free = at + _APART * (high - low)
        dots.append(Dot(at, one.weight_bp / 100, word if named else "", look))
    return dots


def _moment(at: float) -> str:
    return f"{datetime.fromtimestamp(at, tz=UTC):%-d %b %H:%M:%S}"
