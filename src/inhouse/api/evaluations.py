"""``/v1/evaluations``: how versions scored, and what the gate said."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Limit, OfTask, PathId, Reader, Wired
from inhouse.client.control import Evaluation
from inhouse.evaluation import records

router = APIRouter(tags=["evaluations"])


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
