"""``/training``: runs as they go, starting, stopping and repeating them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response, StreamingResponse

from inhouse.core.states import RunStatus
from inhouse.dashboard import training_view as view
from inhouse.dashboard.access import while_allowed
from inhouse.dashboard.evaluations_charts import curve_charts
from inhouse.dashboard.recipe_forms import recipe_forms
from inhouse.dashboard.shell import Operating, Reading, whole_number
from inhouse.datasets import snapshot
from inhouse.db.unit import ReadUnit
from inhouse.evaluation import records
from inhouse.registry import versions
from inhouse.training import recipes, runs
from inhouse.training.follow import HEADERS, MEDIA_TYPE, look, stream
from inhouse.training.repeat import repeat
from inhouse.training.runs import Run

router = APIRouter()

_SHOWN: Final = 50
_EVENTS: Final = 5000


@router.get("/training")
def show_all(page: Reading) -> Response:
    """Runs, newest first; those that go on first of all."""
    app = page.app
    task = page.request.query_params.get("task") or None
    with app.database.read() as unit:
        found = runs.list_runs(unit, task=task, limit=_SHOWN)
        rows = [{"run": run, **_result(unit, run)} for run in found]
        snapshots = snapshot.list_snapshots(unit)
    now = app.clock.now()
    usable = [
        one
        for one in snapshots
        if any(
            (spec.name, spec.revision) == (one.task, one.task_revision)
            for spec in app.catalog.all()
        )
    ]
    return page.render(
        "training/list.html",
        title="Training",
        nav="training",
        rows=rows,
        task=task,
        sentence=view.sentence(found),
        snapshots=usable,
        recipes=recipe_forms(),
        chosen=page.request.query_params.get("snapshot", ""),
        now=now,
        view=view,
    )


@router.post("/training")
def start(page: Operating) -> Response:
    """Queue a run on a snapshot."""
    app, form = page.app, page.sent
    recipe = recipes.find(form.get("recipe") or recipes.DEFAULT)
    overrides = view.settings_from(recipe.name, recipe.settings.model_json_schema(), form)
    with app.database.write() as unit:
        frozen = snapshot.get(unit, form.get("snapshot", ""))
        run = app.training.request(
            unit,
            app.catalog.get(frozen.task),
            frozen,
            recipe=recipe.name,
            overrides=overrides,
            actor=page.actor,
        )
    return page.redirect(f"/training/{run.id}")


@router.get("/training/{run_id}")
def show(run_id: str, page: Reading) -> Response:
    """One run: how far it is, its curves, its log, what it made."""
    app = page.app
    with app.database.read() as unit:
        run = runs.get(unit, run_id)
        events = runs.events(unit, run_id, limit=_EVENTS)
        frozen = snapshot.get(unit, run.snapshot_id, run.task)
        result = _result(unit, run)
    status = view.BADGES[run.status][1]
    return page.render(
        "training/show.html",
        title=f"{status} run {view.short(run.id)}, {run.task}",
        nav="training",
        run=run,
        badge=view.BADGES[run.status],
        pace=view.pace(run, events, app.clock.now()),
        curve_charts=curve_charts(view.curves(events), f"/v1/training/runs/{run.id}/events"),
        log=view.log(events),
        last=events[-1].sequence if events else 0,
        snapshot=frozen,
        recipe=recipes.RECIPES.get(run.recipe),
        is_over=view.is_over(run),
        waits=run.status is RunStatus.SUCCEEDED and not result["is_judged"],
        view=view,
        **result,
    )


@router.get("/training/{run_id}/events")
async def show_events(run_id: str, request: Request, page: Reading) -> Response:
    """That something happened in a run, as server-sent events: the page then asks for its part."""
    since = request.query_params.get("since", "")
    after = whole_number(request.headers.get("last-event-id", since)) or 0
    events, is_over = await run_in_threadpool(look, page.app.database, run_id, after)
    if is_over and not events:
        return Response(status_code=204)
    events_told = stream(page.app.database, run_id, after, request.app.state.stopping)
    door = page.site.door
    body = while_allowed(events_told, lambda: door.find(request, renews=False))
    return StreamingResponse(body, media_type=MEDIA_TYPE, headers=HEADERS)


@router.post("/training/{run_id}/cancel")
def cancel(run_id: str, page: Operating) -> Response:
    """Cancel a queued run at once; ask a running one to stop."""
    with page.app.database.write() as unit:
        run = page.app.training.cancel(unit, run_id)
    told = "Cancelled" if view.is_over(run) else "The run stops at its next step"
    return page.redirect(f"/training/{run_id}", toast=told)


@router.post("/training/{run_id}/retry")
def retry(run_id: str, page: Operating) -> Response:
    """Start another run like this one."""
    with page.app.database.write() as unit:
        run = repeat(page.app.training, unit, run_id, actor=page.actor)
    return page.redirect(f"/training/{run.id}", toast="Started again")


def _result(unit: ReadUnit, run: Run) -> dict[str, Any]:
    """What a run made: its version and the newest evaluation of it."""
    if run.version_id is None:
        return {"version": None, "evaluation": None, "is_judged": False}
    judged = records.list_evaluations(unit, run.task, run.version_id, limit=1)
    found = judged[0] if judged else None
    return {
        "version": versions.by_id(unit, run.version_id),
        "evaluation": found,
        "is_judged": found is not None and found.status != "running",
    }
