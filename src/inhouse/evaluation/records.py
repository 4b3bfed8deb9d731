"""Evaluations as rows: written once when they begin, once when they end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, insert, select, update

from inhouse.core.errors import Conflict, NotFound
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.evaluation.gate import Comparison, Verdict
from inhouse.evaluation.measure import Result
from inhouse.evaluation.tables import Evaluation, EvaluationItem

_table = table_of(Evaluation)
_items = table_of(EvaluationItem)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRecord:
    """One evaluation. ``results`` and ``comparisons`` are plain values, as the API shows them."""

    id: str
    task: str
    task_revision: str
    candidate: str
    version_id: str | None
    snapshot_id: str
    split: str
    status: str
    verdict: str | None
    reasons: Sequence[str] | None
    results: Sequence[Mapping[str, Any]] | None
    comparisons: Sequence[Mapping[str, Any]] | None
    settings: Mapping[str, Any]
    error: str | None
    created_at: datetime
    finished_at: datetime | None


def begin(
    unit: WriteUnit,
    *,
    task: str,
    task_revision: str,
    candidate: str,
    version_id: str | None,
    snapshot_id: str,
    settings: Mapping[str, Any],
    at: datetime,
) -> EvaluationRecord:
    """Enter an evaluation of the test split that is now running."""
    row = {
        "id": new_id(),
        "task": task,
        "task_revision": task_revision,
        "candidate": candidate,
        "version_id": version_id,
        "snapshot_id": snapshot_id,
        "split": "test",
        "status": "running",
        "settings": dict(settings),
        "created_at": at,
    }
    unit.execute(insert(_table).values(**row))
    return get(unit, str(row["id"]))


def finish(
    unit: WriteUnit,
    evaluation_id: str,
    *,
    results: Sequence[Result],
    comparisons: Sequence[Comparison],
    verdict: Verdict,
    keep_answers: bool = True,
    at: datetime,
) -> EvaluationRecord:
    """Store what came out, with every answer, or (``keep_answers`` false) with its score only.

    Raises Conflict when the evaluation has ended.
    """
    ended = unit.execute(
        update(_table)
        .where(_table.c.id == evaluation_id, _table.c.status == "running")
        .values(
            status="done",
            verdict=verdict.kind.value,
            reasons=list(verdict.reasons),
            results=[_summary(result) for result in results],
            comparisons=[asdict(comparison) for comparison in comparisons],
            finished_at=at,
        )
    )
    if ended.rowcount != 1:
        status = get(unit, evaluation_id).status
        raise Conflict(f"evaluation {evaluation_id} is {status}", code="evaluation-state")
    rows = [row for result in results for row in _item_rows(evaluation_id, result, keep_answers)]
    unit.execute(insert(_items), rows)
    return get(unit, evaluation_id)


def fail(unit: WriteUnit, evaluation_id: str, error: str, *, at: datetime) -> None:
    """Store that nothing could be measured, and why."""
    unit.execute(
        update(_table)
        .where(_table.c.id == evaluation_id, _table.c.status == "running")
        .values(status="failed", error=error, finished_at=at)
    )


def fail_of_job(unit: WriteUnit, job_id: str, version_id: str, error: str, *, at: datetime) -> None:
    """``fail`` what a job began of a version and did not end."""
    begun = select(_table.c.id, _table.c.settings).where(
        _table.c.version_id == version_id, _table.c.status == "running"
    )
    for row in unit.execute(begun).all():
        if row.settings.get("job") == job_id:
            fail(unit, row.id, error, at=at)


def get(unit: ReadUnit, evaluation_id: str) -> EvaluationRecord:
    """The evaluation with that id. Raises NotFound."""
    row = unit.execute(select(_table).where(_table.c.id == evaluation_id)).one_or_none()
    if row is None:
        raise NotFound(f"there is no evaluation {evaluation_id}", code="evaluation-not-found")
    return _record(row)


def list_evaluations(
    unit: ReadUnit, task: str | None = None, version_id: str | None = None, limit: int = 50
) -> list[EvaluationRecord]:
    """Evaluations, newest first."""
    statement = select(_table).order_by(_table.c.created_at.desc(), _table.c.id.desc()).limit(limit)
    if task is not None:
        statement = statement.where(_table.c.task == task)
    if version_id is not None:
        statement = statement.where(_table.c.version_id == version_id)
    return [_record(row) for row in unit.execute(statement)]


def items(
    unit: ReadUnit, evaluation_id: str, reference: str | None = None
) -> list[Mapping[str, Any]]:
    """Every answer of an evaluation, or those of one reference: reference, position, output,
    probabilities, score, ..."""
    statement = (
        select(_items)
        .where(_items.c.evaluation_id == evaluation_id)
        .order_by(_items.c.reference, _items.c.position)
    )
    if reference is not None:
        statement = statement.where(_items.c.reference == reference)
    return [dict(row._mapping) for row in unit.execute(statement)]


def _item_rows(evaluation_id: str, result: Result, keep_answers: bool) -> list[dict[str, Any]]:
    return [
        {
            "evaluation_id": evaluation_id,
            "reference": result.reference,
            "position": position,
            "output": answer.output if keep_answers else None,
            "probabilities": answer.probabilities if keep_answers else None,
            "score": score,
            "latency_ms": answer.latency_ms,
            "error_code": answer.error_code,
        }
        for position, (answer, score) in enumerate(zip(result.answers, result.scores, strict=True))
    ]


def _summary(result: Result) -> dict[str, Any]:
    return {
        "reference": result.reference,
        "role": result.role,
        "about": result.about,
        "n": len(result.answers),
        "failures": result.failures,
        "figures": {name: asdict(interval) for name, interval in result.figures.items()},
        "latency": None
        if result.latency is None
        else {name: asdict(interval) for name, interval in result.latency.items()},
    }


def _record(row: Row[Any]) -> EvaluationRecord:
    return EvaluationRecord(**row._mapping)
