"""How far each task has come, from its corrections to its newest version and the gate's word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from inhouse.core.states import RunStatus, VersionStatus
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.records import EvaluationRecord, list_evaluations
from inhouse.feedback.submit import FeedbackKind
from inhouse.feedback.tables import Feedback
from inhouse.interactions.tables import Interaction
from inhouse.monitoring.queries import Window
from inhouse.registry import versions
from inhouse.training.runs import list_runs

COUNTED_CORRECTIONS: Final = 2000
"""Corrections of a window that are told apart by task at most."""
_RUNS: Final = 200
_interaction = table_of(Interaction)
_feedback = table_of(Feedback)


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """How far a task has come: corrections in the window, the newest run's status, the newest
    version and what its gate said of it."""

    corrections: int
    run: str | None
    version: str | None
    verdict: str | None


def journeys(unit: ReadUnit, tasks: Iterable[str], window: Window) -> dict[str, Journey]:
    """How far each of these tasks has come, by its name."""
    corrections = _corrections(unit, window)
    runs = {run.task: run.status for run in reversed(list_runs(unit, limit=_RUNS))}
    newest = {version.task: version for version in reversed(versions.list_versions(unit))}
    verdicts: Mapping[str, EvaluationRecord] = {
        record.version_id: record
        for record in reversed(list_evaluations(unit, limit=_RUNS))
        if record.version_id is not None
    }
    found = {}
    for task in tasks:
        version, run = newest.get(task), runs.get(task)
        evaluation = verdicts.get(version.id) if version else None
        found[task] = Journey(
            corrections=corrections.get(task, 0),
            run=RunStatus(run).value if run else None,
            version=version.reference if version else None,
            verdict=_verdict(version, evaluation),
        )
    return found


def _verdict(version: versions.Version | None, evaluation: EvaluationRecord | None) -> str | None:
    if version is not None and version.status is VersionStatus.REJECTED:
        return "rejected"
    return evaluation.verdict if evaluation else None


def _corrections(unit: ReadUnit, window: Window) -> dict[str, int]:
    """How many of the newest corrections in the window belong to each task."""
    newest = (
        select(_feedback.c.interaction_id)
        .where(
            _feedback.c.kind == FeedbackKind.CORRECTION.value,
            _feedback.c.created_at >= window.since,
            _feedback.c.created_at < window.until,
        )
        .order_by(_feedback.c.created_at.desc())
        .limit(COUNTED_CORRECTIONS)
        .subquery()
    )
    statement = (
        select(_interaction.c.task, func.count(newest.c.interaction_id.distinct()).label("calls"))
        .join(newest, newest.c.interaction_id == _interaction.c.id)
        .where(_interaction.c.task.is_not(None))
        .group_by(_interaction.c.task)
    )
    return {row.task: row.calls for row in unit.execute(statement)}
