"""``/v1/jobs``: background work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import Limit, Operator, PathId, Reader, Wired
from inhouse.client.automation import Paused, PauseRequest
from inhouse.client.control import Job, Name
from inhouse.core.states import JobStatus
from inhouse.jobs import pause, queue

router = APIRouter(tags=["jobs"])


@router.get("/v1/jobs")
def list_jobs(
    app: Wired,
    _: Reader,
    *,
    status: JobStatus | None = None,
    name: Annotated[Name | None, Query(description="Only jobs of this handler.")] = None,
    limit: Limit = 100,
) -> list[Job]:
    """Jobs, newest first."""
    with app.database.read() as unit:
        found = queue.list_jobs(unit, status=status, name=name, limit=limit)
    return [Job.model_validate(record) for record in found]


@router.get("/v1/jobs/{job_id}")
def show_job(job_id: PathId, app: Wired, _: Reader) -> Job:
    """One job."""
    with app.database.read() as unit:
        return Job.model_validate(queue.get(unit, job_id))


@router.post("/v1/jobs/pause")
def pause_jobs(request: PauseRequest, app: Wired, who: Operator) -> Paused:
    """Stop all of the machine's own work: no job is begun, nothing is proposed or begun by itself,
    and rollouts only go back. Running jobs end; calls are answered as ever."""
    at = app.clock.now()
    with app.database.write() as unit:
        found = pause.pause(unit, actor=who.actor, reason=request.reason, at=at)
    return Paused.model_validate({"paused": found}, from_attributes=True)


@router.post("/v1/jobs/resume")
def resume_jobs(app: Wired, _: Operator) -> Paused:
    """Go on."""
    with app.database.write() as unit:
        pause.resume(unit)
    return Paused(paused=None)
