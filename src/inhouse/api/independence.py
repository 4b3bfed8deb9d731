"""``/v1/independence``: how far the tasks can live without upstreams."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import Reader, Wired
from inhouse.client.control import Independence
from inhouse.monitoring import report

router = APIRouter(tags=["independence"])


@router.get("/v1/independence")
def show_independence(
    app: Wired,
    _: Reader,
    *,
    days: Annotated[int, Query(ge=1, le=3650, description="Length of the window.")] = report.DAYS,
) -> Independence:
    """The independence score with its parts, a line per task, and what would raise it most."""
    with app.database.read() as unit:
        found = report.independence(unit, now=app.clock.now(), days=days)
    return Independence.model_validate(found)
