"""``/metrics``: for whoever runs the server."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy.exc import SQLAlchemyError

from inhouse.api.depends import Reader, Wired
from inhouse.automation.metrics import observe as observe_proposals
from inhouse.bootstrap import App
from inhouse.core.errors import InhouseError
from inhouse.gateway.limits.metrics import observe as observe_limits
from inhouse.jobs.metrics import observe as observe_jobs
from inhouse.monitoring.alert_records import list_alerts
from inhouse.monitoring.metrics import observe, observe_alerts
from inhouse.monitoring.report import independence
from inhouse.rollout.metrics import observe as observe_rollouts

router = APIRouter(tags=["operation"])
_MOST_ALERTS: Final = 1000


@router.get("/metrics", response_class=Response)
def metrics(_: Reader, app: Wired) -> Response:
    """Every series, in the text format of Prometheus. The independence score is that of the last
    seven days, worked out for this answer; what comes from the database stays as it was while that
    does not answer."""
    if not app.routes.stale:
        _observe(app)
    observe_limits(app.limiter.lines())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


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
