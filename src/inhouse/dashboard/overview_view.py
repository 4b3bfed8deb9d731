"""What the overview shows: charts, the steps of each task, words for what needs somebody. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote, urlencode

from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.dashboard.axes import time_axis
from inhouse.dashboard.charts import AreaChart, area_chart
from inhouse.dashboard.figures import cost, number, percent, plural
from inhouse.dashboard.frames import Framing
from inhouse.monitoring.concern import Concern, Level
from inhouse.monitoring.overview import Overview, Period, Slot, TaskSummary
from inhouse.monitoring.savings import Savings
from inhouse.registry.routes import FULL

PERIODS: Final = {
    Period.DAY: "24 hours",
    Period.WEEK: "7 days",
    Period.MONTH: "30 days",
}
LEVELS: Final = {
    Level.BAD: ("bad", "x"),
    Level.WARN: ("warn", "warn"),
    Level.INFO: ("faint", "info"),
}
"""Class and icon of a concern."""
_RUNS: Final = {"queued": "waiting", "running": "training", "failed": "training failed"}
_VERDICTS: Final = {
    "pass": ("done", "passed"),
    "fail": ("bad", "failed"),
    "inconclusive": ("warn", "inconclusive"),
    "rejected": ("bad", "rejected"),
}
_ROLLOUT: Final = ("/rollouts?task=", "See rollout")
_EVALUATION: Final = ("/evaluations/", "Open evaluation")
_UPSTREAMS: Final = ("/upstreams#", "Open upstreams")
_WAYS: Final[Mapping[str, tuple[str, str]]] = {
    "settings-invalid": ("/settings", "Open settings"),
    "breaker-open": _UPSTREAMS,
    "chain-dead": _UPSTREAMS,
    "version-damaged": ("/versions#", "Open versions"),
    "rollout-held": _ROLLOUT,
    "rollout-paused": _ROLLOUT,
    "rollout-rolled-back": _ROLLOUT,
    "rollout-aborted": _ROLLOUT,
    "split-mismatch": _ROLLOUT,
    "experiment-ended": ("/experiments/", "Open experiment"),
    "training-failed": ("/training/", "Open run"),
    "job-failed": ("/v1/jobs/", "See job"),
    "gate-failed": _EVALUATION,
    "gate-inconclusive": _EVALUATION,
    "drift": ("/tasks/", "Open task"),
}
"""The start of an address, which what it is about ends; and the words of the link."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of a task's journey. ``state``: done, now, bad, warn or "" (not yet)."""

    name: str
    words: str
    state: str


@dataclass(frozen=True, slots=True)
class Way:
    """Where to go about a concern."""

    path: str
    link: str


def sentence(found: Overview) -> str:
    """Who answered how much, and how many tasks needed a general model."""
    if not found.answered:
        return (
            f"No call of a task was answered in the last {PERIODS[found.period]}."
            if not found.calls
            else f"None of {plural(found.calls, 'call')} in the last {PERIODS[found.period]} got "
            "the answer of a model."
        )
    need = sum(bool(task.answered and task.own < task.answered) for task in found.tasks)
    share = percent(found.own / found.answered)
    calls = plural(found.answered, "answered call")
    rest = {
        0: "No task needed a general model.",
        1: "One task needed a general model.",
    }.get(need, f"{number(need)} tasks needed a general model.")
    return f"Own models gave {share} of {calls} in the last {PERIODS[found.period]}. {rest}"


def saved(found: Savings) -> str:
    """What own models saved in all, for the figure of the cost; "" where none answered."""
    if not found.tasks:
        return ""
    if found.saved is None:
        return "what own models saved is not known"
    words = f"own models {'saved' if found.saved >= 0 else 'cost'} {cost(abs(found.saved))}"
    words += "" if found.saved >= 0 else " more than upstreams"
    known = len(found.tasks) - len(found.unknown)
    return f"{words}, known of {known} of {len(found.tasks)} tasks" if found.unknown else words


def who_answers(found: Overview) -> AreaChart | None:
    """Shares of the answered calls over time; None with less than two slots that have any."""
    slots = [slot for slot in found.slots if slot.own + slot.local + slot.external]
    if len(slots) < 2:
        return None
    by_day = found.period is not Period.DAY
    x = [slot.start.timestamp() for slot in slots]
    framing = Framing(
        title="Who answers",
        unit=f"share of answered calls, by {'day' if by_day else 'hour'} (UTC)",
        finding=_finding(slots, "day" if by_day else "hour"),
        json=f"/v1/overview?window={found.period}",
        height=210,
        x_name="Day" if by_day else "Hour",
        named=lambda at: _named(slots, x, at, by_day=by_day),
    )
    parts = [
        ("own", "own", [float(slot.own) for slot in slots]),
        ("general", "general", [float(slot.local) for slot in slots]),
        ("external", "external", [float(slot.external) for slot in slots]),
    ]
    return area_chart(framing, x, parts, across=time_axis(x[0], x[-1]))


def stages(task: TaskSummary) -> list[Stage]:
    """general model -> corrections -> trained -> evaluated -> share of the calls."""
    journey = task.journey
    verdict = _VERDICTS.get(journey.verdict or "")
    trained = journey.version or _RUNS.get(journey.run or "", "not yet")
    share = task.own_share
    reached = [
        Stage("General", "answers" if task.local + task.external else "not asked", "done"),
        Stage(
            "Corrections",
            number(journey.corrections),
            "done" if journey.corrections or journey.version else "",
        ),
        Stage("Trained", trained, _trained(journey.version, journey.run)),
        Stage("Evaluated", verdict[1] if verdict else "not yet", verdict[0] if verdict else ""),
        Stage(
            "Own share",
            "no calls" if share is None else percent(share, 0),
            "done" if share == 1.0 else "now" if share else "",
        ),
    ]
    return _with_now(reached)


def hosts_in_words(task: TaskSummary) -> str:
    """The bar of who answers, for those who do not see it."""
    if not task.answered:
        return "no answered call"
    shares = ((task.own, "own models"), (task.local, "local general models"))
    parts = [f"{name} {percent(calls / task.answered, 0)}" for calls, name in shares]
    return ", ".join([*parts, f"external APIs {percent(task.external / task.answered, 0)}"])


def traffic_words(task: TaskSummary) -> str:
    """Who gets which share of the units now."""
    if task.pin is not None:
        return f"all to {task.pin}, pinned"
    if not task.weight_bp or task.candidate is None:
        return f"all to {task.incumbent}" if task.incumbent else "nobody"
    if task.weight_bp == FULL:
        return f"all to {task.candidate}"
    return f"{task.weight_bp / 100:g} % to {task.candidate}"


def calls_path(task: str, period: Period, **more: str) -> str:
    """The list of a task's calls in the same window."""
    return "/interactions?" + urlencode({"window": period.value, "task": task, **more})


def way(concern: Concern, period: Period) -> Way | None:
    """The page that helps with a concern."""
    if concern.code == "calls-fail":
        return Way(calls_path(concern.about, period, status="failed"), "See calls")
    if concern.code == "candidate-waits":
        return Way(rollout_form(concern.about), "Start rollout")
    if concern.code in ("jobs-paused", "proposal-open"):
        return Way("/automation", "Open automation")
    found = _WAYS.get(concern.code)
    return None if found is None else Way(found[0] + quote(concern.about, safe=""), found[1])


def rollout_form(reference: str) -> str:
    """The form that starts a rollout of an own version."""
    task = parse_reference(reference).name
    return "/rollouts/new?" + urlencode({"task": task, "candidate": reference})


def version_path(reference: str | None) -> str:
    """The page of an own version; "" for any other reference."""
    if not reference or "@" not in reference:
        return ""
    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        return ""
    return f"/versions/{quote(parsed.name, safe='')}/{parsed.number}"


def _with_now(reached: Sequence[Stage]) -> list[Stage]:
    """The first step that is not done is where the task stands."""
    found, marked = [], False
    for stage in reached:
        if stage.state == "" and not marked:
            stage = Stage(stage.name, stage.words, "now")
        marked = marked or stage.state != "done"
        found.append(stage)
    return found


def _trained(version: str | None, run: str | None) -> str:
    if run == "failed":
        return "bad"
    if run in ("queued", "running"):
        return "now"
    return "done" if version else ""


def _finding(slots: Sequence[Slot], step: str) -> str:
    def share(slot: Slot) -> str:
        return percent(slot.own / (slot.own + slot.local + slot.external), 0)

    return (
        f"Own models answered {share(slots[0])} in the first {step} shown and "
        f"{share(slots[-1])} in the last"
    )


def _named(slots: Sequence[Slot], x: Sequence[float], at: float, *, by_day: bool) -> str:
    start = slots[x.index(at)].start
    return f"{start:%Y-%m-%d}" if by_day else f"{start:%Y-%m-%d %H:00}"
