"""``/v1/limits``: what may be used up, and what is."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Reader, Wired
from inhouse.client.limits import Limit

router = APIRouter(tags=["limits"])


@router.get("/v1/limits")
def list_limits(app: Wired, _: Reader) -> list[Limit]:
    """Every limit of the server, of upstreams and of keys, with what is used up of it."""
    return [Limit.model_validate(line) for line in app.limiter.lines()]
