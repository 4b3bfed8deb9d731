"""Can an own model take a task over: one line for each thing that must hold, with what to do next.

The bars are those of the task's rollout plan and of the gate. A line is ``ok``, ``not yet`` or
``unknown``; unknown is said where nothing was measured, never where it was measured and is bad.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from inhouse.core.clock import Clock
from inhouse.core.states import VersionStatus
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.records import EvaluationRecord, list_evaluations
from inhouse.monitoring import readiness_lines as lines
from inhouse.monitoring.figures import TaskFigures, figures
from inhouse.monitoring.queries import Window
from inhouse.monitoring.readiness_lines import NO_SERVER, Circuit, Line, State, Unseen
from inhouse.registry import routes, versions
from inhouse.registry.routes import FULL, Route
from inhouse.rollout.plan import Plan
from inhouse.tasks.spec import TaskSpec

DAYS: Final = 7
_OVER: Final = (VersionStatus.REJECTED, VersionStatus.ARCHIVED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """A task, the own version in question, and the lines. ``answers_percent``: its share of the
    task's units now."""

    task: str
    reference: str | None
    answers_percent: float
    state: State
    lines: tuple[Line, ...]


def readiness(
    unit: ReadUnit,
    spec: TaskSpec,
    plan: Plan,
    *,
    clock: Clock,
    breakers: Sequence[Circuit] | Unseen = NO_SERVER,
    found: TaskFigures | None = None,
) -> Readiness:
    """How a task stands. ``breakers`` are those of a running server, or why they are not known.
    ``found`` are the task's figures, where somebody has them already."""
    now = clock.now()
    route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
    version = _in_question(unit, spec, route)
    if found is None:
        found = figures(unit, spec, Window(since=now - timedelta(days=DAYS), until=now))
    told = [lines.volume(found, plan), lines.truths(unit, spec)]
    if version is None:
        told.insert(0, lines.no_version(spec))
    else:
        name = version.reference
        about = lines.About(
            spec=spec,
            plan=plan,
            reference=name,
            figures=found,
            mine=next((one for one in found.models if one.reference == name), None),
            evaluation=_evaluation(unit, version),
        )
        told += [lines.success(about), lines.latency(about), lines.score(about), lines.gate(about)]
        told += [lines.drift(unit, about), lines.circuit(about, breakers)]
    states = {line.state for line in told}
    worst = next((s for s in (State.NOT_YET, State.UNKNOWN) if s in states), State.OK)
    return Readiness(
        task=spec.name,
        reference=version.reference if version else None,
        answers_percent=_percent(route, version.reference) if version else 0.0,
        state=worst,
        lines=tuple(told),
    )


def _in_question(unit: ReadUnit, spec: TaskSpec, route: Route) -> versions.Version | None:
    """The own version on the route, the candidate first; else the newest one that may serve. One
    that was rejected is none, though it may be the route's candidate still."""
    own = versions.list_versions(unit, spec.name)
    for name in (route.candidate, route.pin, route.incumbent):
        for version in own:
            if version.reference == name and version.status not in _OVER:
                return version
    may = (VersionStatus.CANDIDATE, VersionStatus.ACTIVE)
    return next((version for version in own if version.status in may), None)


def _percent(route: Route, reference: str) -> float:
    if route.pin is not None:
        return 100.0 if route.pin == reference else 0.0
    found = route.weight_bp if route.candidate == reference else 0
    found += FULL - route.weight_bp if route.incumbent == reference else 0
    return 100 * found / FULL


def _evaluation(unit: ReadUnit, version: versions.Version) -> EvaluationRecord | None:
    found = list_evaluations(unit, version_id=version.id)
    return next((one for one in found if one.status == "done"), None)
