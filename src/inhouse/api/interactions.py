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
from inhouse.interactions.filters import Facets, Span, read_tag
from inhouse.interactions.search import find, get

router = APIRouter(tags=["interactions"])

OfStatus = Literal["answered", "flagged", "failed", "cancelled"] | None
OfArm = Literal["incumbent", "candidate", "pinned", "forced", "imported", "shadow"] | None
OfHosting = Annotated[
    Literal["own", "local", "external"] | None, Query(description="Where what answered runs.")
]
OfReference = Annotated[Reference | None, Query(description="What answered.")]
Text = Annotated[
    str,
    Query(
        max_length=200,
        pattern=r"^[^\x00]*$",
        description="In the input or the output. The newest 10,000 calls are searched; to go on, "
        "ask with `until` = `reached` of the answer.",
    ),
]
Tag = Annotated[
    str,
    Query(
        max_length=600, pattern=r"^([^\x00=]+=[^\x00]*)?$", description="name=value; as with `q`."
    ),
]


@router.get("/v1/interactions")
def list_interactions(
    app: Wired,
    _: Reader,
    *,
    task: OfTask = None,
    status: OfStatus = None,
    arm: OfArm = None,
    reference: OfReference = None,
    hosting: OfHosting = None,
    q: Text = "",
    tag: Tag = "",
    since: Annotated[AwareDatetime | None, Query(description="Inclusive.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Exclusive.")] = None,
    before: Annotated[Id | None, Query(description="`next` of the page before.")] = None,
    limit: Limit = 50,
) -> InteractionPage:
    """Recorded calls, newest first, one page at a time."""
    facets = Facets(task=task, status=status, arm=arm, reference=reference, hosting=hosting)
    span = Span(since=since, until=until)
    with app.database.read() as unit:
        found = find(
            unit,
            facets,
            span,
            text=q,
            tag=read_tag(tag),
            before_id=before,
            limit=limit,
        )
    return InteractionPage.model_validate(found)


@router.get("/v1/interactions/{interaction_id}")
def show_interaction(interaction_id: PathId, app: Wired, _: Reader) -> InteractionDetail:
    """One recorded call, with the trace of its route and what was said about it."""
    with app.database.read() as unit:
        record = get(unit, interaction_id)
        said = list_for(unit, interaction_id)
    fields = Interaction.model_validate(record).model_dump()
    return InteractionDetail(**fields, feedback=[Feedback.model_validate(one) for one in said])
