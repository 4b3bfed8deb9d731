"""``/v1/independence``: how far the tasks can live without upstreams."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from inhouse.api.depends import Reader, Wired
from inhouse.client.control import Independence
from inhouse.client.independence import IndependenceDocument, ReportFormat
from inhouse.monitoring import report
from inhouse.monitoring.document import document
from inhouse.monitoring.render import as_html, as_markdown

router = APIRouter(tags=["independence"])

Days = Annotated[int, Query(ge=1, le=3650, description="Length of the window.")]
_HTML: Final = "text/html"
_MARKDOWN: Final = "text/markdown"
_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox"
)
"""The file is to be kept and passed on, so its style stands in it; it has nothing that runs."""
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The report.",
        "content": {kind: {"schema": {"type": "string"}} for kind in (_HTML, _MARKDOWN)},
    }
}


@router.get("/v1/independence")
def show_independence(app: Wired, _: Reader, *, days: Days = report.DAYS) -> Independence:
    """The independence score with its parts, a line per task, and what would raise it most."""
    with app.database.read() as unit:
        found = report.independence(unit, now=app.clock.now(), days=days)
    return Independence.model_validate(found)


@router.get("/v1/independence/report", response_model=IndependenceDocument, responses=_FILES)
def show_report(
    app: Wired,
    _: Reader,
    *,
    days: Days = report.DAYS,
    file_format: Annotated[ReportFormat, Query(alias="format")] = "html",
) -> Response | IndependenceDocument:
    """The report to pass on: one HTML file, Markdown or JSON, with the past of the score, the steps
    that would raise it, and what own models saved."""
    with app.database.read() as unit:
        found = document(
            unit, app.catalog.all(), app.settings.upstreams, now=app.clock.now(), days=days
        )
    if file_format == "json":
        return IndependenceDocument.model_validate(found)
    headers = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff"}
    if file_format == "md":
        return Response(as_markdown(found), media_type=_MARKDOWN, headers=headers)
    return Response(as_html(found), media_type=_HTML, headers=headers)
