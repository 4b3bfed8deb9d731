"""``/v1/drift``: whether calls are still like what their models were made from."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Limit, OfTask, Operator, Reader, Wired
from inhouse.client.control import Job
from inhouse.client.drift import DriftLook, DriftRequest
from inhouse.monitoring import drift_records

router = APIRouter(tags=["drift"])


@router.get("/v1/drift")
def list_drift(app: Wired, _: Reader, *, task: OfTask = None, limit: Limit = 50) -> list[DriftLook]:
    """What was found at one task or at all, newest first."""
    with app.database.read() as unit:
        found = drift_records.list_drift(unit, task, limit)
    return [DriftLook.model_validate(record) for record in found]


@router.post("/v1/drift", status_code=202)
def look_for_drift(request: DriftRequest, app: Wired, _: Operator) -> Job:
    """Look now, as a job; one that has not ended is returned instead of a second."""
    if request.task is not None:
        app.catalog.get(request.task)
    with app.database.write() as unit:
        job = drift_records.request(unit, request.task, at=app.clock.now())
    return Job.model_validate(job)
