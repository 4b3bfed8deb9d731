"""The independence report: the score with its parts, a line per task, and the best next step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from inhouse.core.errors import Invalid
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.core.states import VersionStatus
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.gate import VerdictKind
from inhouse.evaluation.records import EvaluationRecord, list_evaluations
from inhouse.monitoring.independence import Parts, TaskUse, gain, score
from inhouse.monitoring.queries import CallCount, Window, count_calls
from inhouse.registry import routes, versions
from inhouse.registry.routes import FULL, Route

DAYS = 7
_MOST_DAYS = 3650
_LEAST_POINTS = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How the own model that answers now compares with the general model on the frozen test split.

    ``difference``, ``low``, ``high``: task score of the own model minus that of the general one,
    with the ends of the 95 % interval. ``general_about``: what the general model is and how large.
    """

    certified: bool
    verdict: str
    general: str
    general_about: str
    difference: float
    low: float
    high: float
    evaluation_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLine:
    """One task of the report. ``own_version``: the own model that answers now, if one does.
    ``parity``: None when that version was never compared with a general model."""

    task: str
    own: int
    local: int
    external: int
    unanswered: int
    own_percent: float
    own_version: str | None
    parity: Parity | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Something to do for a task, in words, and the points that the score would rise by."""

    task: str
    words: str
    points: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IndependenceReport:
    """``score`` (0-100) and ``parts`` are None when no call of a task was answered in the window.
    ``days``: length of the window, a day begun counted. ``steps``: what would raise the score, most
    first."""

    score: float | None
    parts: Parts | None
    sources_formula: float | None
    since: datetime
    until: datetime
    days: int
    tasks: tuple[TaskLine, ...]
    steps: tuple[Step, ...]


def independence(unit: ReadUnit, *, now: datetime, days: int = DAYS) -> IndependenceReport:
    """The report over the last ``days`` days. Raises Invalid (``window``) for no days at all."""
    if not 1 <= days <= _MOST_DAYS:
        raise Invalid(f"a window of {days} days", code="window", hint=f"1 to {_MOST_DAYS}")
    return independence_in(unit, Window(since=now - timedelta(days=days), until=now))


def independence_in(
    unit: ReadUnit, window: Window, counts: Sequence[CallCount] | None = None
) -> IndependenceReport:
    """The report over any window, with the routes and evaluations as they were at its end.

    ``counts`` are the calls of the window where somebody has them already. Raises Invalid
    (``window``) for one that ends before it begins.
    """
    if window.until <= window.since:
        raise Invalid("a window ends after it begins", code="window")
    until = window.until
    counts = count_calls(unit, window) if counts is None else counts
    answering = {one.task: serving(one) for one in routes.all_current(unit, until)}
    lines = [_line(unit, count, answering.get(count.task), until) for count in counts]
    uses = [use_of(line) for line in lines]
    parts = score(uses)
    return IndependenceReport(
        score=parts.score if parts else None,
        parts=parts,
        sources_formula=parts.sources_formula if parts else None,
        since=window.since,
        until=until,
        days=math.ceil((until - window.since) / timedelta(days=1)),
        tasks=tuple(lines),
        steps=tuple(_steps(unit, lines, uses, answering, until)),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """An own version that gets traffic, and its share in basis points."""

    reference: str
    weight_bp: int


def serving(route: Route) -> Serving | None:
    """The own version that a route gives most traffic to; None when it gives none to any."""
    if route.pin is not None:
        shares = [(route.pin, FULL)]
    else:
        shares = [(route.incumbent, FULL - route.weight_bp)]
        if route.candidate is not None:
            shares.append((route.candidate, route.weight_bp))
    own = [Serving(reference=name, weight_bp=bp) for name, bp in shares if bp and _is_own(name)]
    return max(own, key=lambda found: found.weight_bp, default=None)


def _line(unit: ReadUnit, count: CallCount, now: Serving | None, at: datetime) -> TaskLine:
    return TaskLine(
        task=count.task,
        own=count.own,
        local=count.local,
        external=count.external,
        unanswered=count.unanswered,
        own_percent=100 * count.own / count.answered if count.answered else 0.0,
        own_version=now.reference if now else None,
        parity=_parity(unit, now.reference, at) if now else None,
    )


def use_of(line: TaskLine) -> TaskUse:
    """The task as the formula takes it."""
    return TaskUse(
        task=line.task,
        own=line.own,
        local=line.local,
        external=line.external,
        unanswered=line.unanswered,
        certified=line.parity is not None and line.parity.certified,
    )


def _is_own(reference: str) -> bool:
    return bool(reference) and parse_reference(reference).kind is ReferenceKind.VERSION


def _parity(unit: ReadUnit, reference: str, at: datetime) -> Parity | None:
    """The newest evaluation of the version, ended by then, that met the general model."""
    parsed = parse_reference(reference)
    version = versions.get(unit, parsed.name, parsed.number)
    for evaluation in list_evaluations(unit, version_id=version.id):
        if evaluation.finished_at is None or evaluation.finished_at > at:
            continue
        for comparison in evaluation.comparisons or ():
            if comparison["role"] == "general":
                return _read_parity(evaluation, comparison)
    return None


def _read_parity(evaluation: EvaluationRecord, comparison: Mapping[str, Any]) -> Parity:
    gap = comparison["difference"]
    general = comparison["other"]
    about = {result["reference"]: result["about"] for result in evaluation.results or ()}
    return Parity(
        certified=evaluation.verdict == VerdictKind.PASS,
        verdict=evaluation.verdict or "",
        general=general,
        general_about=about.get(general, ""),
        difference=gap["estimate"],
        low=gap["low"],
        high=gap["high"],
        evaluation_id=evaluation.id,
    )


def _steps(
    unit: ReadUnit,
    lines: Sequence[TaskLine],
    uses: Sequence[TaskUse],
    answering: Mapping[str, Serving | None],
    at: datetime,
) -> list[Step]:
    steps = [
        Step(
            task=line.task,
            words=_words(unit, line, answering.get(line.task), at),
            points=round(points, 1),
        )
        for line in lines
        if (points := gain(uses, line.task)) >= _LEAST_POINTS
    ]
    return sorted(steps, key=lambda step: (-step.points, step.task))


def _words(unit: ReadUnit, line: TaskLine, now: Serving | None, at: datetime) -> str:
    """What to do so that a certified own model answers every call of the task."""
    if now is None:
        return _first_words(unit, line.task, at)
    name = now.reference
    if line.parity is None:
        return f"evaluate {name} against the general model and let it answer every {line.task} call"
    if not line.parity.certified:
        return (
            f"train a better own model for {line.task}: {name} is not certified "
            f"as good as {line.parity.general}"
        )
    if now.weight_bp < FULL:
        return f"let {name} answer every {line.task} call; it gets {now.weight_bp / 100:g} % now"
    return f"wait: {name} answers every {line.task} call now, older ones leave the window by and by"


def _first_words(unit: ReadUnit, task: str, at: datetime) -> str:
    waiting = [
        version.reference
        for version in versions.list_versions(unit, task)
        if version.status in (VersionStatus.CANDIDATE, VersionStatus.ACTIVE)
        and version.created_at <= at
    ]
    if waiting:
        return f"roll {waiting[0]} out, so that it answers every {task} call"
    return f"train an own model for {task} and, once it has passed, let it answer every call"
