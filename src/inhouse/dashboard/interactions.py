"""``/interactions``: what was asked and answered, what happened to a call, and what is right."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.core.errors import Invalid, NotFound
from inhouse.core.ids import is_id
from inhouse.dashboard import corrections
from inhouse.dashboard import interactions_view as view
from inhouse.dashboard.interactions_view import Filters
from inhouse.dashboard.overview import period_of
from inhouse.dashboard.overview_view import PERIODS, version_path
from inhouse.dashboard.security import path_of
from inhouse.dashboard.shell import Page, Reading, Reviewing
from inhouse.dashboard.tasks_view import pieces, pretty
from inhouse.db.base import in_utc
from inhouse.db.unit import ReadUnit
from inhouse.feedback.said import corrected
from inhouse.feedback.submit import FeedbackKind, list_for, submit
from inhouse.interactions.entry import InteractionRecord
from inhouse.interactions.filters import FACETS, Facets, Span, read_tag
from inhouse.interactions.search import find, get, newest_tags
from inhouse.monitoring.activity import activity
from inhouse.monitoring.lineage import of_interaction
from inhouse.monitoring.overview import hours_of
from inhouse.tasks.spec import TaskSpec

router = APIRouter()
ROWS: Final = 50
_TAGGED: Final = 1000
_TAGS: Final = 6
_MOST_TEXT: Final = 200


@router.get("/interactions")
def show_all(page: Reading) -> Response:
    """The calls that match, newest first, beside the one that is open."""
    filters = _filters(page)
    if is_id(filters.text):
        return page.redirect(f"/interactions/{filters.text}")
    app, window = page.app, hours_of(filters.period, page.app.clock.now())
    until = _moment(filters.until)
    span = Span(since=window.since, until=min(until, window.until) if until else window.until)
    with app.database.read() as unit:
        counted = activity(unit, filters.facets, window)
        found = find(
            unit,
            filters.facets,
            span,
            text=filters.text,
            tag=read_tag(filters.tag),
            before_id=filters.before or None,
            limit=ROWS,
        )
        tags = newest_tags(unit, filters.facets, span, _TAGGED)
        marks = corrected(unit, [record.id for record in found.items])
        opened = _opened(page, unit, filters)
    query = filters.path().partition("?")[2]
    return page.render(
        "interactions/list.html",
        title="Interactions",
        nav="interactions",
        filters=filters,
        periods=PERIODS,
        counted=counted,
        found=found,
        corrected=marks,
        histogram=view.calls_over_time(counted, f"/v1/activity?{query}"),
        facets=view.choices(filters, counted),
        tags=view.tag_choices(filters, tags, _TAGS),
        tagged=_TAGGED,
        older=_older(filters, found.next, found.reached),
        opened=opened,
        **(opened or {"view": view}),
    )


@router.get("/interactions/{interaction_id}")
def show(interaction_id: str, page: Reading) -> Response:
    """One call: the trace of its route, the answer, and what was said about it."""
    with page.app.database.read() as unit:
        detail = _detail(page, unit, interaction_id)
    return _render(page, detail)


@router.post("/interactions/{interaction_id}/feedback")
def say(interaction_id: str, page: Reviewing) -> Response:
    """Keep a correction, a rating, a comment."""
    app, form = page.app, page.sent
    with app.database.read() as unit:
        record = get(unit, interaction_id)
        detail = _detail(page, unit, interaction_id)
    try:
        statements = corrections.read(form, detail["spec"], record.output)
        with app.database.write() as unit:
            for one in statements:
                submit(
                    unit,
                    interaction_id=interaction_id,
                    kind=one.kind,
                    value=one.value,
                    author=page.who.actor if page.who else None,
                    idempotency_key=None,
                    at=app.clock.now(),
                    catalog=app.catalog,
                    redactor=app.content.redactor,
                )
    except Invalid as error:
        return _render(page, {**detail, "error": error, "typed": form}, status=422)
    kept = " and ".join(one.kind.value for one in statements)
    return page.redirect(_return_path(form, interaction_id), toast=f"Kept: {kept}")


def _render(page: Page, detail: dict[str, Any], status: int = 200) -> Response:
    record: InteractionRecord = detail["record"]
    return page.render(
        "interactions/show.html",
        title=f"{record.task or 'Chat'} {record.id[:8]}",
        nav="interactions",
        status=status,
        **detail,
    )


def _opened(page: Page, unit: ReadUnit, filters: Filters) -> dict[str, Any] | None:
    """The call beside the list, whose form leads back there."""
    if not filters.open:
        return None
    return {**_detail(page, unit, filters.open), "back": filters.here(open=filters.open)}


def _filters(page: Page) -> Filters:
    given = page.request.query_params
    facets = {name: given[name] for name in FACETS if given.get(name)}
    facets = {name: "" if value == view.NOTHING else value for name, value in facets.items()}
    return Filters(
        period=period_of(page),
        facets=Facets(**facets),
        text=given.get("q", "").strip()[:_MOST_TEXT].replace("\x00", ""),
        tag=given.get("tag", ""),
        before=given.get("before", "") if is_id(given.get("before", "")) else "",
        until=given.get("until", ""),
        open=given.get("open", ""),
    )


def _older(filters: Filters, following: str | None, reached: datetime | None) -> str:
    if following is not None:
        return filters.path(before=following)
    return filters.path(until=reached.isoformat()) if reached is not None else ""


def _moment(text: str) -> datetime | None:
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise Invalid(f"until: {text!r} is no moment", code="time", hint="ISO 8601 with a zone")
    return in_utc(moment)


def _detail(page: Page, unit: ReadUnit, interaction_id: str) -> dict[str, Any]:
    app, record = page.app, get(unit, interaction_id)
    spec = _spec(page, record)
    asked = {attempt["reference"] for attempt in record.attempts or ()}
    spans = (record.output or {}).get("spans") if spec is not None else None
    text = view.input_text(record)
    return {
        "view": view,
        "record": record,
        "spec": spec,
        "declared": record.task is not None and _is_declared(page, record.task),
        "feedback": list_for(unit, interaction_id),
        "lineage": of_interaction(unit, interaction_id),
        "text": text,
        "pieces": pieces(text, spans, spec.labels) if spec and isinstance(spans, list) else None,
        "tries": view.tries(record),
        "breakers": [state for state in app.breakers.states() if state.reference in asked],
        "version": version_path(record.reference),
        "output": None if record.output is None else pretty(record.output),
        "prefilled": corrections.prefilled(spec, record.output) if spec else "",
        "curl": view.curl(record, _base_url(page), with_key=not page.site.door.is_open),
        "back": "",
        "error": None,
        "typed": {},
        "CORRECTION": FeedbackKind.CORRECTION,
        "pretty": pretty,
    }


def _spec(page: Page, record: InteractionRecord) -> TaskSpec | None:
    """The task as it was when it was asked; None when it is declared differently by now."""
    specs = (spec for spec in page.app.catalog.all() if spec.name == record.task)
    return next((spec for spec in specs if spec.revision == record.task_revision), None)


def _is_declared(page: Page, task: str) -> bool:
    try:
        page.app.catalog.get(task)
    except NotFound:
        return False
    return True


def _base_url(page: Page) -> str:
    return str(page.request.base_url).rstrip("/")


def _return_path(form: dict[str, str], interaction_id: str) -> str:
    """Back to the list where the form stood beside it, otherwise to the call."""
    back = urlsplit(path_of(form.get("back", "")))
    beside = dict(parse_qsl(back.query)).get("open") == interaction_id
    is_list = back.path == "/interactions" and beside
    return f"{back.path}?{back.query}" if is_list else f"/interactions/{interaction_id}"
