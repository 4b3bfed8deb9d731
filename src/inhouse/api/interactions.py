"""``/v1/interactions``: what was asked and answered."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from inhouse.api.depends import Limit, OfTask, PathId, Reader, Wired
from inhouse.client.control import (
    Feedback,
    Id,
    Interaction,
    InteractionDetail,
    InteractionPage,
    Reference,
)
from inhouse.feedback.submit import list_for
from inhouse.interactions.search import get, search

router = APIRouter(tags=["interactions"])


@router.get("/v1/interactions")
def list_interactions(
    app: Wired,
    _: Reader,
    *,
    task: OfTask = None,
    status: Literal["answered", "flagged", "failed", "cancelled"] | None = None,
    arm: Literal["incumbent", "candidate", "pinned", "forced"] | None = None,
    reference: Annotated[Reference | None, Query(description="What answered.")] = None,
    since: Annotated[AwareDatetime | None, Query(description="Inclusive.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Exclusive.")] = None,
    before: Annotated[Id | None, Query(description="`next` of the page before.")] = None,
    limit: Limit = 50,
) -> InteractionPage:
    """Recorded calls, newest first, one page at a time."""
    with app.database.read() as unit:
        found = search(
            unit,
            task=task,
            status=status,
            arm=arm,
            reference=reference,
            since=since,
            until=until,
            before_id=before,
            limit=limit,
        )
    items = [Interaction.model_validate(record) for record in found]
    return InteractionPage(items=items, next=items[-1].id if len(items) == limit else None)


@router.get("/v1/interactions/{interaction_id}")
def show_interaction(interaction_id: PathId, app: Wired, _: Reader) -> InteractionDetail:
    """One recorded call, with the trace of its route and what was said about it."""
    with app.database.read() as unit:
        record = get(unit, interaction_id)
        said = list_for(unit, interaction_id)
    fields = Interaction.model_validate(record).model_dump()
    return InteractionDetail(**fields, feedback=[Feedback.model_validate(one) for one in said])
