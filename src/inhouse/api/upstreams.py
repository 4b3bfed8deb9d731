"""``/v1/upstreams``: who answers from outside, for which tasks, and how it goes.

The handlers run on the event loop, where the calls change the breakers.
"""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Operator, Reader, Wired
from inhouse.client.control import Name
from inhouse.client.upstreams import Probe, Upstream
from inhouse.dashboard.upstreams_view import ask, upstreams_of

router = APIRouter(tags=["upstreams"])


@router.get("/v1/upstreams")
async def list_upstreams(app: Wired, _: Reader) -> list[Upstream]:
    """Every declared upstream with its models, their tasks, breakers, prices and limits."""
    return [Upstream.model_validate(one) for one in upstreams_of(app)]


@router.post("/v1/upstreams/{name}/probe")
async def probe_upstream(name: Name, app: Wired, _: Operator) -> list[Probe]:
    """Ask every model of an upstream once for every task that may need it, outside of traffic.
    External models are paid for."""
    return [Probe.model_validate(one) for one in await ask(app, name)]
