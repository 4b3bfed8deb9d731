"""``/healthz``, ``/readyz`` and ``/metrics``: for whoever runs the server."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from inhouse.api.depends import Reader, Wired
from inhouse.client.control import Health

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
def metrics(_: Reader) -> Response:
    """Every series, in the text format of Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
