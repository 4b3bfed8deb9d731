"""``/v1/alerts``: what somebody should look at, and who was told."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from inhouse.api.depends import Limit, Reader, Wired
from inhouse.client.alerts import Alert
from inhouse.client.control import Name
from inhouse.monitoring import alert_records as records

router = APIRouter(tags=["operation"])

OpenOnly = Annotated[bool, Query(alias="open", description="Only those that are not over.")]
OfCode = Annotated[Name | None, Query(description="Only this code.")]


@router.get("/v1/alerts")
def list_alerts(
    app: Wired, _: Reader, *, open_only: OpenOnly = False, code: OfCode = None, limit: Limit = 100
) -> list[Alert]:
    """Alerts, open ones first, those that were seen last first."""
    with app.database.read() as unit:
        found = records.list_alerts(unit, open_only=open_only, code=code, limit=limit)
    return [Alert.model_validate(alert) for alert in found]
