"""``/v1/training/runs``: runs, what happens in them, and starting and stopping them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import PlainTextResponse, StreamingResponse

from inhouse.api.depends import Limit, OfTask, Operator, PathId, Reader, Wired, check_reader
from inhouse.client.control import TrainingEvent, TrainingRun, TrainingStart
from inhouse.client.recipes import Recipe
from inhouse.core.states import RunStatus
from inhouse.dashboard.access import while_allowed
from inhouse.datasets import snapshot
from inhouse.training import recipes, runs
from inhouse.training.follow import HEADERS, MEDIA_TYPE, look, stream
from inhouse.training.repeat import log_tail, repeat

router = APIRouter(tags=["training"])

_MOST_EVENTS = 2**31 - 1


@router.get("/v1/training/recipes")
def list_recipes(_: Reader) -> list[Recipe]:
    """The recipes there are, with what they can be told."""
    return [
        Recipe(
            name=recipe.name,
            summary=recipe.summary,
            settings=recipe.settings.model_json_schema(),
            default=recipe.name == recipes.DEFAULT,
        )
        for recipe in recipes.RECIPES.values()
    ]


@router.get("/v1/training/runs")
def list_runs(
    app: Wired,
    _: Reader,
    *,
    task: OfTask = None,
    status: RunStatus | None = None,
    limit: Limit = 50,
) -> list[TrainingRun]:
    """Training runs, newest first."""
    with app.database.read() as unit:
        found = runs.list_runs(unit, task=task, status=status, limit=limit)
    return [TrainingRun.model_validate(run) for run in found]


@router.get("/v1/training/runs/{run_id}")
def show_run(run_id: PathId, app: Wired, _: Reader) -> TrainingRun:
    """One training run."""
    with app.database.read() as unit:
        return TrainingRun.model_validate(runs.get(unit, run_id))


@router.get(
    "/v1/training/runs/{run_id}/events",
    response_model=list[TrainingEvent],
    responses={200: {"content": {MEDIA_TYPE: {}}}, 204: {"description": "The run is over."}},
)
async def show_events(
    run_id: PathId,
    request: Request,
    app: Wired,
    _: Reader,
    *,
    since: Annotated[
        int, Query(ge=0, le=_MOST_EVENTS, description="Only events above this sequence.")
    ] = 0,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int | None, Header(ge=0, le=_MOST_EVENTS)] = None,
) -> Response | list[TrainingEvent]:
    """What happened in a run: at most 1,000 events as JSON, or with `Accept: text/event-stream` all
    of them as they happen. A stream that is taken up again after the end of its run gets 204."""
    after = last_event_id if last_event_id is not None else since
    events, is_over = await run_in_threadpool(look, app.database, run_id, after)
    if MEDIA_TYPE not in accept:
        return [TrainingEvent.model_validate(event) for event in events]
    if is_over and not events:
        return Response(status_code=204)
    told = stream(app.database, run_id, after, request.app.state.stopping)
    body = while_allowed(told, lambda: check_reader(request))
    return StreamingResponse(body, media_type=MEDIA_TYPE, headers=HEADERS)


@router.post("/v1/training/runs")
def start_run(request: TrainingStart, app: Wired, who: Operator) -> TrainingRun:
    """Queue a training run; a job worker takes it up. Without a snapshot: the task's newest."""
    spec = app.catalog.get(request.task)
    with app.database.write() as unit:
        run = app.training.request(
            unit,
            spec,
            snapshot.get(unit, request.snapshot_id or snapshot.LATEST, spec.name),
            recipe=request.recipe or recipes.DEFAULT,
            overrides=request.settings,
            actor=who.actor,
        )
    return TrainingRun.model_validate(run)


@router.get(
    "/v1/training/runs/{run_id}/log",
    response_class=PlainTextResponse,
    responses={200: {"content": {"text/plain": {}}}},
)
def show_log(run_id: PathId, app: Wired, _: Reader) -> str:
    """The end of what the run's processes said, at most 64 KiB; empty while they said nothing."""
    with app.database.read() as unit:
        runs.get(unit, run_id)
    return log_tail(app.training, run_id)


@router.post("/v1/training/runs/{run_id}/retry")
def retry_run(run_id: PathId, app: Wired, who: Operator) -> TrainingRun:
    """Start another run with the recipe, settings and snapshot of one that is over. 409 for one
    that is not."""
    with app.database.write() as unit:
        run = repeat(app.training, unit, run_id, actor=who.actor)
    return TrainingRun.model_validate(run)


@router.post("/v1/training/runs/{run_id}/cancel")
def cancel_run(run_id: PathId, app: Wired, _: Operator) -> TrainingRun:
    """Cancel a queued run at once; ask a running one to stop. 409 for one that is over."""
    with app.database.write() as unit:
        return TrainingRun.model_validate(app.training.cancel(unit, run_id))
