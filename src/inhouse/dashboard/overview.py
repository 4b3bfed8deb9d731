"""``/``: how far are we, and what needs me."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.dashboard import overview_view as view
from inhouse.dashboard import rollouts_words
from inhouse.dashboard.shell import Page, Reading
from inhouse.monitoring.overview import Overview, Period, overview
from inhouse.monitoring.savings import BASES
from inhouse.rollout import records
from inhouse.rollout.tell import weight_of

router = APIRouter()
_MOST_STEPS: Final = 4


@router.get("/")
def show(page: Reading) -> Response:
    """The overview of the last day, week or month."""
    period = period_of(page)
    found = _look(page, period)
    return page.render(
        "overview/show.html",
        title="Overview",
        nav="overview",
        found=found,
        view=view,
        periods=view.PERIODS,
        who_answers=view.who_answers(found),
        steps=found.independence.steps[:_MOST_STEPS],
        running=_running(page),
        say=rollouts_words,
        bases=BASES,
        now=page.app.clock.now(),
        started=bool(found.calls or any(task.journey.version for task in found.tasks)),
    )


def period_of(page: Page) -> Period:
    """The window that the address names; a day when it names none that there is."""
    named = page.request.query_params.get("window", "")
    return Period(named) if named in set(Period) else Period.DAY


def _running(page: Page) -> list[dict[str, Any]]:
    """The rollouts that have not ended, newest first."""
    with page.app.database.read() as unit:
        found = records.unfinished(unit)[::-1]
    return [
        {
            "rollout": one,
            "badge": rollouts_words.BADGES[one.state],
            "weight_bp": weight_of(one),
        }
        for one in found
    ]


def _look(page: Page, period: Period) -> Overview:
    app = page.app
    with app.database.read() as unit:
        return overview(
            unit,
            app.catalog.all(),
            app.standing(),
            now=app.clock.now(),
            period=period,
            upstreams=app.settings.upstreams,
        )
