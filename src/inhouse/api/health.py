"""``/healthz``, ``/readyz`` and ``/metrics``: for whoever runs the server."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from inhouse.api.depends import Reader, Wired
from inhouse.automation.metrics import observe as observe_proposals
from inhouse.client.control import Health
from inhouse.gateway.limits.metrics import observe as observe_limits
from inhouse.jobs.metrics import observe as observe_jobs
from inhouse.monitoring.metrics import observe
from inhouse.monitoring.report import independence

router = APIRouter(tags=["operation"])


@router.get("/healthz")
async def healthz() -> Health:
    """The process answers. Open to everybody."""
    return Health()


@router.get("/readyz")
def readyz(app: Wired) -> Health:
    """Calls can be answered and recorded: the database answers, and the recorder has room. 503
    otherwise. Open to everybody."""
    with app.database.read() as unit:
        unit.execute(text("SELECT 1"))
    app.recorder.admit()
    return Health()


@router.get("/metrics", response_class=Response)
def metrics(_: Reader, app: Wired) -> Response:
    """Every series, in the text format of Prometheus. The independence score is that of the last
    seven days, worked out for this answer."""
    with app.database.read() as unit:
        observe(independence(unit, now=app.clock.now()))
        observe_jobs(unit)
        observe_proposals(unit)
    observe_limits(app.limiter.lines())
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
