"""``/evaluations``: how versions scored beside the others, and what their answers look like."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.bootstrap import App
from inhouse.core.errors import InhouseError
from inhouse.dashboard import evaluations_view as view
from inhouse.dashboard.evaluations_charts import trust_chart, value_chart
from inhouse.dashboard.shell import Reading, whole_number
from inhouse.dashboard.tasks_view import brief, pieces
from inhouse.datasets import snapshot
from inhouse.db.unit import ReadUnit
from inhouse.evaluation import answers, records
from inhouse.evaluation.answers import Answers
from inhouse.evaluation.records import EvaluationRecord

router = APIRouter()

_SHOWN: Final = 50
MISTAKES: Final = 10
"""Mistakes on one page."""


@router.get("/evaluations")
def show_all(page: Reading) -> Response:
    """Evaluations, newest first."""
    task = page.request.query_params.get("task") or None
    with page.app.database.read() as unit:
        found = records.list_evaluations(unit, task, limit=_SHOWN)
    rows = [{"record": record, "standings": view.standings(record)} for record in found]
    return page.render(
        "evaluations/list.html",
        title="Evaluations",
        nav="evaluations",
        rows=rows,
        task=task,
        view=view,
    )


@router.get("/evaluations/{evaluation_id}")
def show(evaluation_id: str, page: Reading) -> Response:
    """One evaluation: the verdict and why, everybody's figures, and what one of them answered."""
    query = page.request.query_params
    with page.app.database.read() as unit:
        record = records.get(unit, evaluation_id)
        frozen = snapshot.get(unit, record.snapshot_id, record.task)
        looked = look(
            page.app, unit, record, query.get("reference") or None, _offset(query.get("offset", ""))
        )
    return page.render(
        "evaluations/show.html",
        title=f"{record.candidate} evaluated",
        nav="evaluations",
        record=record,
        snapshot=frozen,
        **shown(record),
        **looked,
    )


def shown(record: EvaluationRecord) -> dict[str, Any]:
    """What templates need of an evaluation's figures; versions show them too."""
    found = view.standings(record)
    main = view.main_figure(found)
    return {
        "badge": view.VERDICTS.get(record.verdict or "", ("", record.status.capitalize())),
        "verdict_sentence": view.sentence(record),
        "standings": found,
        "main": main,
        "bounds": view.bounds(found, main),
        "comparisons": view.comparisons(record),
        "names": view.NAMES,
    }


def look(
    app: App,
    unit: ReadUnit,
    record: EvaluationRecord,
    reference: str | None = None,
    offset: int = 0,
) -> dict[str, Any]:
    """What templates need of one reference's answers; what is missing is said by ``unreadable``."""
    nothing: dict[str, Any] = {"answers": None, "report": None, "matrix": [], "mistakes": None}
    nothing |= {"trust_chart": None, "value_chart": None, "size": MISTAKES}
    try:
        found = answers.load(unit, record, app.catalog, reference)
    except InhouseError as error:
        return {**nothing, "unreadable": error, "brief": brief, "cut": _cut([])}
    report = found.report()
    json = f"/v1/evaluations/{record.id}/report?reference={quote(found.reference)}"
    trust = report.reliability if found.kind == "choice" else ()
    values = report.reliability if found.kind == "score" else ()
    return {
        "answers": found,
        "report": report,
        "matrix": [] if report.confusion is None else view.matrix(report.confusion),
        "trust_chart": trust_chart(trust, json),
        "value_chart": value_chart(values, json),
        "mistakes": answers.mistakes(found, offset=offset, limit=MISTAKES),
        "size": MISTAKES,
        "unreadable": None,
        "brief": brief,
        "cut": _cut(_labels(found)),
    }


def _cut(labels: list[str]) -> Any:
    def cut(text: Any, output: Any) -> Any:
        return pieces(text, (output or {}).get("spans", ()), labels)

    return cut


def _labels(found: Answers) -> list[str]:
    return list(found.labels)


def _offset(text: str) -> int:
    return whole_number(text) or 0
