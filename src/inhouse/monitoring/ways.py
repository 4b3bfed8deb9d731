"""What would raise the independence score: every step simulated by itself, ranked by points. Pure.

A step is tried out on the figures of the window: the calls of a task as if its own model had
answered them, its own model as if it had been certified, external calls as if a model on one's own
machines had answered. The formula does the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from inhouse.monitoring.independence import TaskUse, score
from inhouse.monitoring.report import IndependenceReport, TaskLine, use_of

_LEAST_POINTS: Final = 0.05


class Kind(StrEnum):
    """What is done: everything until an own model, as good as the general one, answers all calls;
    only the calls; only the certificate; or the external calls are brought to one's own machines.
    """

    TAKE_OVER = "take over"
    TRAFFIC = "traffic"
    CERTIFY = "certify"
    BRING_HOME = "bring home"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One step for a task: in words, what the score would be, and the points won by it, in all and
    by the parts of the score."""

    task: str
    kind: Kind
    words: str
    score: float
    points: float
    deployment: float
    dependence: float
    parity: float


def ways(report: IndependenceReport) -> list[Way]:
    """Every step that would win something now, most points first."""
    uses = [use_of(line) for line in report.tasks]
    whole = {step.task: step.words for step in report.steps}
    found = [
        way
        for line in report.tasks
        for kind, words in _steps(line, whole.get(line.task, ""))
        if (way := _try(uses, line.task, kind, words)) is not None
    ]
    return sorted(found, key=lambda way: (-way.points, way.task, way.kind))


def _steps(line: TaskLine, whole: str) -> Iterator[tuple[Kind, str]]:
    """For a task without an own model the whole way is one step; else what is left of it."""
    name, parity = line.own_version, line.parity
    if name is None:
        if whole:
            yield Kind.TAKE_OVER, whole
    else:
        if parity is None:
            yield Kind.CERTIFY, f"evaluate {name} against the general model, and pass"
        elif not parity.certified:
            better = f"{name} is not certified as good as {parity.general}"
            yield Kind.CERTIFY, f"train a better own model for {line.task}: {better}"
        yield Kind.TRAFFIC, f"let {name} answer every {line.task} call"
    if line.external:
        yield (
            Kind.BRING_HOME,
            f"meanwhile, ask a general model on your own machines about {line.task}",
        )


def _try(uses: Sequence[TaskUse], task: str, kind: Kind, words: str) -> Way | None:
    before, after = score(uses), score([_done(u, kind) if u.task == task else u for u in uses])
    if before is None or after is None or after.score - before.score < _LEAST_POINTS:
        return None
    return Way(
        task=task,
        kind=kind,
        words=words,
        score=after.score,
        points=round(after.score - before.score, 1),
        deployment=after.deployment_points - before.deployment_points,
        dependence=after.dependence_points - before.dependence_points,
        parity=after.parity_points - before.parity_points,
    )


def _done(use: TaskUse, kind: Kind) -> TaskUse:
    match kind:
        case Kind.TAKE_OVER:
            return replace(use, own=use.answered, local=0, external=0, certified=True)
        case Kind.TRAFFIC:
            return replace(use, own=use.answered, local=0, external=0)
        case Kind.CERTIFY:
            return replace(use, certified=True)
        case Kind.BRING_HOME:
            return replace(use, local=use.local + use.external, external=0)
