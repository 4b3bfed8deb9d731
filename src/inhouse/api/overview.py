"""``/v1/overview`` and ``/v1/activity``: the loop at one glance, calls over time and by facet."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import OfTask, Reader, Wired
from inhouse.api.interactions import OfArm, OfHosting, OfReference, OfStatus
from inhouse.client.overview import Activity, Overview
from inhouse.interactions.filters import Facets
from inhouse.monitoring import activity as counting
from inhouse.monitoring import overview as looking
from inhouse.monitoring.overview import Period, hours_of

router = APIRouter(tags=["overview"])

InWindow = Annotated[Period, Query(description="How far back, in whole hours.")]


@router.get("/v1/overview")
def show_overview(app: Wired, _: Reader, *, window: InWindow = Period.DAY) -> Overview:
    """Who answers, how well, how far each task has come, and what needs somebody."""
    with app.database.read() as unit:
        found = looking.overview(
            unit,
            app.catalog.all(),
            app.standing(),
            now=app.clock.now(),
            period=window,
            upstreams=app.settings.upstreams,
        )
    return Overview.model_validate(found)


@router.get("/v1/activity")
def show_activity(
    app: Wired,
    _: Reader,
    *,
    window: InWindow = Period.DAY,
    task: OfTask = None,
    status: OfStatus = None,
    arm: OfArm = None,
    reference: OfReference = None,
    hosting: OfHosting = None,
) -> Activity:
    """Calls over time and by facet, with filters as the list of interactions has them."""
    facets = Facets(task=task, status=status, arm=arm, reference=reference, hosting=hosting)
    with app.database.read() as unit:
        found = counting.activity(unit, facets, hours_of(window, app.clock.now()))
    return Activity.model_validate(found)
