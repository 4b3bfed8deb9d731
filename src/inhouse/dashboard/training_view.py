"""What the pages of training show: how far a run is, its curves, its log. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inhouse.core.errors import Invalid
from inhouse.core.states import RUNS, RunStatus
from inhouse.dashboard.evaluations_view import NAMES
from inhouse.dashboard.figures import duration, number, plural
from inhouse.training.runs import PROGRESS, STATUS, Event, Run

BADGES: Mapping[str, tuple[str, str]] = {
    "queued": ("waiting", "Queued"),
    "running": ("live", "Running"),
    "succeeded": ("good", "Succeeded"),
    "failed": ("failed", "Failed"),
    "cancelled": ("", "Cancelled"),
}
"""The badge of each status: its state and its word."""
_SURE_AFTER = 0.02
"""Share that is done before a time left is told from the pace so far."""
_MEASURED = ("train_loss", "valid_score")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How far a run is: ``done`` of ``total`` (0: not known), seconds gone, and seconds left where
    they can be told."""

    done: float
    total: float
    note: str
    gone_s: float | None
    left_s: float | None
    is_over: bool

    @property
    def words(self) -> str:
        """What is done, in words."""
        if not self.total:
            return self.note or ("waiting for a worker" if self.gone_s is None else "starting")
        share = f"{number(100 * self.done / self.total)} %"
        return f"{share}, {self.note}" if self.note else share

    @property
    def times(self) -> str:
        """Time gone and left, in words."""
        if self.gone_s is None:
            return "It never started." if self.is_over else "Not started yet."
        if self.is_over:
            return f"It took {whole(self.gone_s)}."
        gone = f"{whole(self.gone_s)} gone"
        return gone if self.left_s is None else f"{gone}, about {whole(self.left_s)} left"


Curve = Sequence[tuple[float, float]]
"""Points (epochs done, value)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Curves by part of the training (``fold 1 of 3``, ``final``), in the order they came."""

    losses: Mapping[str, Curve]
    scores: Mapping[str, Curve]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of the log; ``after`` is the time since the run was queued (``1:07``), ``level`` "",
    note, warn or bad."""

    after: str
    text: str
    level: str = ""


def pace(run: Run, events: Sequence[Event], now: datetime) -> Pace:
    """How far the run is; of its present attempt, for a run that was taken up again."""
    said = _this_attempt(events)
    last: Mapping[str, Any] = said[-1].data if said else {}
    done, total = float(last.get("done", 0.0)), float(last.get("total", 0.0))
    end = run.finished_at or now
    gone = None if run.started_at is None else max(0.0, (end - run.started_at).total_seconds())
    left = None
    if run.status is RunStatus.RUNNING and gone and total and done / total >= _SURE_AFTER:
        until_said = (said[-1].at - run.started_at).total_seconds() if run.started_at else gone
        left = max(0.0, until_said / done * total - gone)
        if (told := (last.get("point") or {}).get("seconds_left")) is not None:
            left = max(0.0, float(told) - (now - said[-1].at).total_seconds())
    return Pace(
        done=done,
        total=total,
        note=str(last.get("note", "")),
        gone_s=gone,
        left_s=left,
        is_over=is_over(run),
    )


def curves(events: Sequence[Event]) -> Curves:
    """What progress said of losses and scores in the present attempt, if anything."""
    losses: dict[str, list[tuple[float, float]]] = {}
    scores: dict[str, list[tuple[float, float]]] = {}
    for event in _this_attempt(events):
        point = event.data.get("point") or {}
        for name, lines in (("train_loss", losses), ("valid_score", scores)):
            if point.get(name) is not None:
                place = (float(point["epoch"]), float(point[name]))
                lines.setdefault(str(point["part"]), []).append(place)
    return Curves(losses=losses, scores=scores)


def log(events: Sequence[Event]) -> list[Line]:
    """The events as lines. Notes that repeat with nothing but another count are one line."""
    found: list[Line] = []
    for event in events:
        line = _line(event, (event.at - events[0].at).total_seconds())
        if found and found[-1].text == line.text:
            continue
        found.append(line)
    return found


def sentence(found: Sequence[Run]) -> str:
    """What goes on, in one sentence."""
    running = sum(run.status is RunStatus.RUNNING for run in found)
    waiting = sum(run.status is RunStatus.QUEUED for run in found)
    verb = "is" if running == 1 else "are"
    waits = "waits" if waiting == 1 else "wait"
    return f"{plural(running, 'run')} {verb} going, {waiting} {waits}."


def is_over(run: Run) -> bool:
    """Whether nothing more happens in the run."""
    return RUNS.is_final(run.status)


def metrics(run: Run) -> list[tuple[str, str, str]]:
    """What the training measured and chose: a word, a value, and how it was measured."""
    found = []
    for name, value in (run.metrics or {}).items():
        is_figure = name in NAMES or name.endswith("loss")
        word = NAMES.get(name, name.replace("_", " ").capitalize())
        shown = f"{value:.3f}" if is_figure else f"{value:g}"
        found.append((word, shown.replace("-", "−"), "by cross-validation" if is_figure else ""))
    return found


def whole(seconds: float) -> str:
    """A duration in whole seconds: 8 s, 3 min 20 s."""
    return duration(seconds) if seconds >= 10 else f"{round(seconds)} s"


def short(run_id: str) -> str:
    """The end of an id, enough to tell runs apart: ids begin with their time."""
    return run_id.replace("-", "")[-6:]


def settings_from(
    recipe: str, schema: Mapping[str, Any], sent: Mapping[str, str]
) -> dict[str, Any]:
    """Settings of a recipe from a form's fields ``set.<recipe>.<name>``; an empty field is left
    out.

    Raises Invalid (``recipe-settings``) for a number that is none.
    """
    found: dict[str, Any] = {}
    for name, about in schema["properties"].items():
        text = sent.get(f"set.{recipe}.{name}", "").strip()
        if text:
            found[name] = _value(name, text, about)
    return found


def _value(name: str, text: str, about: Mapping[str, Any]) -> Any:
    try:
        match about.get("type"):
            case "integer":
                return int(text)
            case "number":
                return float(text)
            case "array":
                return [float(part) for part in text.split(",")]
            case "boolean":
                return text == "true"
            case _:
                return text
    except ValueError:
        raise Invalid(
            f"{name}: {text!r} is no number",
            code="recipe-settings",
            hint="leave the field empty for the default",
        ) from None


def _this_attempt(events: Sequence[Event]) -> list[Event]:
    """Progress since the run was started the last time."""
    said: list[Event] = []
    for event in events:
        if event.kind == STATUS and event.data.get("status") == RunStatus.RUNNING:
            said = []
        elif event.kind == PROGRESS:
            said.append(event)
    return said


def _line(event: Event, seconds: float) -> Line:
    data, after = event.data, f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    if event.kind == STATUS:
        error = data.get("error")
        text = f"{data['status']}: {error}" if error else str(data["status"])
        return Line(after=after, text=text, level="bad" if error else "note")
    point = data.get("point") or {}
    measured = [
        f"{name.replace('_', ' ')} {point[name]:.4g}"
        for name in _MEASURED
        if point.get(name) is not None
    ]
    return Line(after=after, text=", ".join([str(data.get("note", "")), *measured]))
