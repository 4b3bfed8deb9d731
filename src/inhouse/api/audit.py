"""``/v1/tasks/{task}/audit``: drawn calls of a split, for somebody to say what is right."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import PathTask, Reviewer, Wired
from inhouse.client.control import Feedback
from inhouse.client.rollouts import AuditItem, AuditLabel
from inhouse.rollout import audit

router = APIRouter(tags=["rollouts"])


@router.get("/v1/tasks/{task}/audit")
def list_drawn(
    task: PathTask,
    app: Wired,
    _: Reviewer,
    *,
    limit: Annotated[int, Query(ge=1, le=audit.MOST, description="At most so many.")] = 10,
) -> list[AuditItem]:
    """Calls that were drawn and have no label yet, newest first. Nothing tells which arm they are
    of."""
    spec = app.catalog.get(task)
    with app.database.read() as unit:
        found = audit.next_drawn(unit, spec, audit.open_audit(unit, spec.name), limit)
    return [AuditItem.model_validate(one) for one in found]


@router.post("/v1/tasks/{task}/audit", status_code=201)
def label_drawn(task: PathTask, request: AuditLabel, app: Wired, who: Reviewer) -> Feedback:
    """Say what is right about a drawn call. The first label counts."""
    spec = app.catalog.get(task)
    said = request.model_dump(include={"output", "correct"}, exclude_unset=True)
    with app.database.write() as unit:
        stored = audit.label(
            unit,
            app.catalog,
            spec,
            request.interaction_id,
            said,
            author=who.actor,
            at=app.clock.now(),
            redactor=app.content.redactor,
        )
    return Feedback.model_validate(stored)
