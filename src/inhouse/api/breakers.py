"""``/v1/breakers``: which backends are left alone, and why.

The handlers run on the event loop, where the calls change the breakers.
"""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Operator, Reader, Wired
from inhouse.client.breakers import Breaker

router = APIRouter(tags=["breakers"])


@router.get("/v1/breakers")
async def list_breakers(app: Wired, _: Reader) -> list[Breaker]:
    """The circuit breaker of every backend that this server has asked, by reference."""
    return [Breaker.model_validate(view) for view in app.breakers.states()]


@router.post("/v1/breakers/{reference:path}/reset")
async def reset_breaker(reference: str, app: Wired, _: Operator) -> Breaker:
    """Close a breaker by hand: the next call goes to its backend."""
    return Breaker.model_validate(app.breakers.reset(reference))
