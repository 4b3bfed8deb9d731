"""``/rollouts``: traffic that moves by evidence; one as it goes; starting, pausing, ending them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from inhouse.core.errors import Conflict, InhouseError
from inhouse.dashboard import rollouts_view as view
from inhouse.dashboard import rollouts_words as say
from inhouse.dashboard.access import while_allowed
from inhouse.dashboard.candidates import candidates
from inhouse.dashboard.overview_view import version_path
from inhouse.dashboard.rollouts_charts import charts_of
from inhouse.dashboard.rollouts_checks import check_rows
from inhouse.dashboard.shell import Operating, Page, Reading, whole_number
from inhouse.dashboard.toasts import Undo
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.interactions.activity import NOT_COUNTED
from inhouse.interactions.counts import sums
from inhouse.interactions.filters import Facets, Span
from inhouse.registry import routes
from inhouse.rollout import history, records, steer
from inhouse.rollout.declared import adjusted, plan_of
from inhouse.rollout.follow import look, stream
from inhouse.rollout.guardrails import ShadowReading
from inhouse.rollout.outlook import outlook
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.reconcile import ACTOR
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.tally import from_json
from inhouse.rollout.tell import tell, weight_of
from inhouse.settings import RolloutSettings
from inhouse.tasks.spec import TaskSpec
from inhouse.training.follow import HEADERS, MEDIA_TYPE

router = APIRouter()

_SHOWN: Final = 50


@router.get("/rollouts")
def show_all(page: Reading) -> Response:
    """Rollouts: those that run first, then the newest."""
    app, task = page.app, page.request.query_params.get("task") or None
    with app.database.read() as unit:
        found = records.list_rollouts(unit, task, _SHOWN, running_first=True)
        last = history.last_decisions(unit, [one.id for one in found])
    return page.render(
        "rollouts/list.html",
        title="Rollouts",
        nav="rollouts",
        rows=[_line(one, last) for one in found],
        running=sum(not one.is_over for one in found),
        task=task,
        now=app.clock.now(),
        say=say,
    )


@router.get("/rollouts/new")
def show_form(page: Reading) -> Response:
    """The form that starts a rollout."""
    return _form(page, page.request.query_params)


@router.post("/rollouts/new")
def start(page: Operating) -> Response:
    """Begin to move a task to a candidate."""
    app, form = page.app, page.sent
    try:
        spec = app.catalog.get(form.get("task", ""))
        declared = _declared(page, spec)
        plan = plan_of(adjusted(declared, view.plan_changes(declared, form)))
        reason = page.reason()
        app.backends.check(form.get("candidate"), plan.judge)
        with app.database.write() as unit:
            rollout = steer.start(
                unit,
                spec,
                candidate=form.get("candidate", ""),
                plan=plan,
                actor=page.actor,
                reason=reason,
                at=app.clock.now(),
            )
    except InhouseError as error:
        return _form(page, form, error)
    app.routes.refresh([spec.name])
    return page.redirect(f"/rollouts/{rollout.id}", toast=f"The rollout of {spec.name} has begun")


@router.get("/rollouts/{rollout_id}")
def show(rollout_id: str, page: Reading) -> Response:
    """One rollout, as it goes."""
    app, now = page.app, page.app.clock.now()
    with app.database.read() as unit:
        told = tell(unit, rollout_id)
        rollout = told.rollout
        waits = outlook(unit, rollout, now)
        moments = history.readings(unit, rollout_id)
        shadow = history.shadow_of(unit, rollout_id)
        found, costs = history.arms(unit, rollout), _costs(unit, rollout, page)
    arms, bounds = view.arm_rows(rollout, found, weight_of(rollout), costs)
    return page.render(
        "rollouts/show.html",
        title=say.title(rollout),
        nav="rollouts",
        rollout=rollout,
        badge=say.BADGES[rollout.state],
        sentence=say.sentence(rollout, waits, told.decisions[-1]),
        drawn=charts_of(rollout, told.decisions, moments, now),
        checks=check_rows(rollout, waits.checks if waits else ()),
        stops=check_rows(rollout, waits.stops if waits else ()),
        arms=arms,
        bounds=bounds,
        log=view.log(told.decisions),
        shadow=shadow,
        say=say,
        version_path=version_path,
        pausable=rollout.state in (*view.RUNNING, RolloutState.HELD),
        **_figures(rollout, waits.reading if waits else told.reading, now),
    )


@router.get("/rollouts/{rollout_id}/events")
async def show_events(rollout_id: str, request: Request, page: Reading) -> Response:
    """That something was counted or decided, as server-sent events: the page asks for its part."""
    since = request.query_params.get("since", "")
    after = whole_number(request.headers.get("last-event-id", since)) or 0
    now = await run_in_threadpool(look, page.app.database, rollout_id)
    if now.is_over and now.revision <= after:
        return Response(status_code=204)
    told = stream(page.app.database, rollout_id, after, request.app.state.stopping)
    door = page.site.door
    body = while_allowed(told, lambda: door.find(request, renews=False))
    return StreamingResponse(body, media_type=MEDIA_TYPE, headers=HEADERS)


@router.post("/rollouts/{rollout_id}/pause")
def pause(rollout_id: str, page: Operating) -> Response:
    """Stay at the weight that is in force. Resuming undoes it where nothing else had stopped it."""

    def act(unit: WriteUnit, rollout: RolloutRecord, **said: Any) -> Undo | None:
        made = steer.pause(unit, rollout, **said)
        if rollout.stopped_from is not None:
            return None
        fields = {"decision": str(made.number), "reason": "Undid the pause"}
        return Undo(f"/rollouts/{rollout.id}/resume", fields)

    return _change(page, rollout_id, act, "Paused")


@router.post("/rollouts/{rollout_id}/resume")
def resume(rollout_id: str, page: Operating) -> Response:
    """Go on where a person or evidence stopped it; a form that names a decision, after it alone."""

    def act(unit: WriteUnit, rollout: RolloutRecord, **said: Any) -> None:
        named = page.sent.get("decision")
        if named is not None and str(records.decisions(unit, rollout.id)[-1].number) != named:
            raise Conflict(
                f"the rollout of {rollout.task} went on meanwhile",
                code="rollout-changed",
                hint="look at the page again",
            )
        steer.resume(unit, rollout, **said)

    return _change(page, rollout_id, act, "Resumed")


@router.post("/rollouts/{rollout_id}/rollback")
def roll_back(rollout_id: str, page: Operating) -> Response:
    """Send everything to the incumbent, and reject the candidate's version."""

    def act(unit: WriteUnit, rollout: RolloutRecord, **said: Any) -> None:
        steer.rollback(unit, page.app.catalog.get(rollout.task), rollout, **said)

    return _change(page, rollout_id, act, "Rolled back")


def _change(page: Page, rollout_id: str, act: Callable[..., Undo | None], toast: str) -> Response:
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        rollout = records.get(unit, rollout_id, lock=True)
        undo = act(unit, rollout, actor=page.actor, reason=reason, at=app.clock.now())
    app.routes.refresh([rollout.task])
    return page.redirect(f"/rollouts/{rollout_id}", toast=toast, undo=undo)


def _form(page: Page, sent: Mapping[str, str], error: InhouseError | None = None) -> Response:
    app, specs = page.app, page.app.catalog.all()
    named = sent.get("task", "") or (specs[0].name if len(specs) == 1 else "")
    spec = next((one for one in specs if one.name == named), None)
    if named and spec is None and error is None:
        app.catalog.get(named)
    context: dict[str, Any] = {"fields": [], "candidates": [], "running": None, "incumbent": ""}
    if spec is not None:
        with app.database.read() as unit:
            route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
            known = candidates(unit, spec)
            context["running"] = records.open_of(unit, spec.name)
        context["incumbent"] = route.incumbent
        context["candidates"] = [one for one in known if one != route.incumbent]
        context["fields"] = view.plan_fields(_declared(page, spec), sent)
    return page.render(
        "rollouts/new.html",
        title="Start a rollout",
        nav="rollouts",
        status=200 if error is None else error.status,
        specs=specs,
        spec=spec,
        chosen=sent.get("candidate", ""),
        reason=sent.get("reason", ""),
        error=error,
        **context,
    )


def _declared(page: Page, spec: TaskSpec) -> RolloutSettings:
    found: RolloutSettings = page.app.settings.tasks[spec.name].rollout
    return found


def _line(rollout: RolloutRecord, last: Mapping[str, records.DecisionRecord]) -> dict[str, Any]:
    made = last[rollout.id]
    return {
        "rollout": rollout,
        "badge": say.BADGES[rollout.state],
        "weight_bp": weight_of(rollout),
        "last": made,
        "words": say.told(made, ACTOR)[0],
    }


def _figures(rollout: RolloutRecord, stored: Any, now: datetime) -> dict[str, Any]:
    """The tiles and tables of a reading, which is that of a shadow or of a ramp."""
    reading = from_json(stored) if isinstance(stored, dict) else stored
    if isinstance(reading, ShadowReading):
        tiles = view.shadow_tiles(rollout, reading, now)
        return {"tiles": tiles, "guardrails": [], "limits": [], "in_shadow": True}
    return {
        "tiles": view.tiles(rollout, reading, now),
        "guardrails": view.guardrail_rows(reading, rollout.plan),
        "limits": view.limit_rows(reading, rollout.plan),
        "in_shadow": False,
    }


def _costs(unit: ReadUnit, rollout: RolloutRecord, page: Page) -> dict[str, float]:
    """Cost of 1,000 calls by reference, in the whole hours of the rollout."""
    span = Span(since=rollout.created_at, until=rollout.ended_at or page.app.clock.now())
    facets = Facets(task=rollout.task)
    counted = sums(unit, span, by=("reference",), facets=facets, without_arms=NOT_COUNTED)
    return {row.reference: 1000 * row.cost / row.calls for row in counted if row.calls}
