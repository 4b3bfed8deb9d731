"""``/healthz``, ``/readyz`` and ``/metrics``: for whoever runs the server."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from inhouse.api.depends import Reader, Wired
from inhouse.automation.metrics import observe as observe_proposals
from inhouse.bootstrap import App
from inhouse.client.control import Health
from inhouse.core.errors import InhouseError, Unavailable
from inhouse.gateway.limits.metrics import observe as observe_limits
from inhouse.jobs.metrics import observe as observe_jobs
from inhouse.monitoring.alert_records import list_alerts
from inhouse.monitoring.metrics import observe, observe_alerts
from inhouse.monitoring.report import independence
from inhouse.rollout.metrics import observe as observe_rollouts

router = APIRouter(tags=["operation"])
_MOST_ALERTS: Final = 1000


@router.get("/healthz", response_model_exclude_none=True)
async def healthz() -> Health:
    """The process answers. Open to everybody."""
    return Health()


@router.get("/readyz", response_model_exclude_none=True)
def readyz(app: Wired) -> Health:
    """Calls can be answered: the recorder has room, and the database answers. 503 otherwise, except
    that a server which answers calls that it cannot record (``on_record_failure = "answer"``) says
    ``cut-off``, with the age of its routes. Open to everybody."""
    app.recorder.admit()
    if _answers(app):
        return Health()
    age_s = round(app.routes.age_s(), 3)
    if not app.recorder.answers:
        raise Unavailable(
            f"the database does not answer; routes are as they were {age_s:.0f} s ago",
            code="database-unavailable",
            hint="see docs/runbooks/database-cut-off.md",
        )
    return Health(status="cut-off", routes_age_s=age_s)


@router.get("/metrics", response_class=Response)
def metrics(_: Reader, app: Wired) -> Response:
    """Every series, in the text format of Prometheus. The independence score is that of the last
    seven days, worked out for this answer; what comes from the database stays as it was while that
    does not answer."""
    if not app.routes.stale:
        _observe(app)
    observe_limits(app.limiter.lines())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def _answers(app: App) -> bool:
    """Whether the database answers now; one that is known not to is not waited for."""
    if app.routes.stale:
        return False
    try:
        with app.database.read() as unit:
            unit.execute(text("SELECT 1"))
    except (InhouseError, SQLAlchemyError):
        return False
    return True


def _observe(app: App) -> None:
    try:
        with app.database.read() as unit:
            observe(independence(unit, now=app.clock.now()))
            observe_alerts(list_alerts(unit, open_only=True, limit=_MOST_ALERTS))
            observe_rollouts(unit)
            observe_jobs(unit)
            observe_proposals(unit)
    except (InhouseError, SQLAlchemyError):
        return
