"""``/v1/subjects`` and ``/v1/erasures``: what there is of somebody, and erasing it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from inhouse.api.depends import Admin, Limit, Operator, Reader, Wired
from inhouse.client.control import Job
from inhouse.client.lineage import Erasure, Held
from inhouse.monitoring import erasure

router = APIRouter(tags=["subjects"])

Subject = Annotated[
    str, Path(min_length=1, max_length=256, description="The subject as calls name it.")
]


@router.get("/v1/subjects/{subject:path}")
def show_subject(subject: Subject, app: Wired, _: Operator) -> Held:
    """What there is of a subject that an erasure would take."""
    with app.database.read() as unit:
        return Held.model_validate(erasure.held(unit, subject))


@router.delete("/v1/subjects/{subject:path}", status_code=202)
def delete_subject(subject: Subject, app: Wired, who: Admin) -> Job:
    """Erase everything of a subject, in a background job. Its id is that of the erasure."""
    with app.database.write() as unit:
        job = erasure.request_subject(unit, subject, actor=who.actor, at=app.clock.now())
    return Job.model_validate(job)


@router.get("/v1/erasures")
def list_erasures(app: Wired, _: Reader, *, limit: Limit = 50) -> list[Erasure]:
    """What was erased, newest first, and which versions were trained from it."""
    with app.database.read() as unit:
        return [Erasure.model_validate(one) for one in erasure.list_erasures(unit, limit)]
