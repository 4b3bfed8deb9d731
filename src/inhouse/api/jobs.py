"""``/v1/jobs``: background work."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import Limit, PathId, Reader, Wired
from inhouse.client.control import Job, Name
from inhouse.core.states import JobStatus
from inhouse.jobs import queue

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
