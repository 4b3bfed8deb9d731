"""``/v1/training/runs``: runs, what happens in them, and starting and stopping them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.responses import StreamingResponse

from inhouse.api.depends import Limit, OfTask, Operator, PathId, Reader, Wired
from inhouse.api.events import look, stream
from inhouse.client.control import TrainingEvent, TrainingRun, TrainingStart
from inhouse.core.states import RunStatus
from inhouse.datasets import snapshot
from inhouse.training import recipes, runs

router = APIRouter(tags=["training"])
_STREAM = "text/event-stream"
_HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}


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
    responses={200: {"content": {_STREAM: {}}}, 204: {"description": "The run is over."}},
)
async def show_events(
    run_id: PathId,
    request: Request,
    app: Wired,
    _: Reader,
    *,
    since: Annotated[int, Query(ge=0, description="Only events above this sequence.")] = 0,
    accept: Annotated[str, Header()] = "",
    last_event_id: Annotated[int | None, Header(ge=0)] = None,
) -> Response | list[TrainingEvent]:
    """What happened in a run: at most 1,000 events as JSON, or with `Accept: text/event-stream` all
    of them as they happen. A stream that is taken up again after the end of its run gets 204."""
    after = last_event_id if last_event_id is not None else since
    events, is_over = await run_in_threadpool(look, app, run_id, after)
    if _STREAM not in accept:
        return [TrainingEvent.model_validate(event) for event in events]
    if is_over and not events:
        return Response(status_code=204)
    body = stream(app, run_id, after, request.app.state.stopping)
    return StreamingResponse(body, media_type=_STREAM, headers=_HEADERS)


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


@router.post("/v1/training/runs/{run_id}/cancel")
def cancel_run(run_id: PathId, app: Wired, _: Operator) -> TrainingRun:
    """Cancel a queued run at once; ask a running one to stop. 409 for one that is over."""
    with app.database.write() as unit:
        return TrainingRun.model_validate(app.training.cancel(unit, run_id))
