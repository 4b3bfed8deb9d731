"""``/v1/evaluations``: how versions scored, what the gate said, and what the answers look like."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import Limit, OfTask, PathId, Reader, Wired
from inhouse.bootstrap import App
from inhouse.client.control import Evaluation, Reference
from inhouse.client.evaluations import EvaluationReport, MistakePage
from inhouse.evaluation import answers, records
from inhouse.evaluation.answers import Answers

router = APIRouter(tags=["evaluations"])
OfReference = Annotated[
    Reference | None, Query(description="Whose answers; the candidate's when left out.")
]


@router.get("/v1/evaluations")
def list_evaluations(
    app: Wired, _: Reader, *, task: OfTask = None, limit: Limit = 50
) -> list[Evaluation]:
    """Evaluations, newest first."""
    with app.database.read() as unit:
        found = records.list_evaluations(unit, task, limit=limit)
    return [Evaluation.model_validate(record) for record in found]


@router.get("/v1/evaluations/{evaluation_id}")
def show_evaluation(evaluation_id: PathId, app: Wired, _: Reader) -> Evaluation:
    """One evaluation with its figures, their intervals and the paired comparisons."""
    with app.database.read() as unit:
        return Evaluation.model_validate(records.get(unit, evaluation_id))


@router.get("/v1/evaluations/{evaluation_id}/report")
def show_report(
    evaluation_id: PathId, app: Wired, _: Reader, *, reference: OfReference = None
) -> EvaluationReport:
    """Confusion matrix, figures per label and reliability of one reference."""
    found = _load(app, evaluation_id, reference)
    report = found.report()
    return EvaluationReport.model_validate(
        {
            "reference": found.reference,
            "kind": found.kind,
            "n": len(found.items),
            "confusion": report.confusion,
            "labels": report.labels,
            "reliability": report.reliability,
        }
    )


@router.get("/v1/evaluations/{evaluation_id}/errors")
def show_errors(
    evaluation_id: PathId,
    app: Wired,
    _: Reader,
    *,
    reference: OfReference = None,
    offset: Annotated[int, Query(ge=0, le=1_000_000, description="Leave out so many.")] = 0,
    limit: Limit = 50,
) -> MistakePage:
    """What one reference answered wrong, the worst first: by how wrong, then by how sure."""
    found = _load(app, evaluation_id, reference)
    return MistakePage.model_validate(answers.mistakes(found, offset=offset, limit=limit))


def _load(app: App, evaluation_id: str, reference: str | None) -> Answers:
    with app.database.read() as unit:
        record = records.get(unit, evaluation_id)
        return answers.load(unit, record, app.catalog, reference)
