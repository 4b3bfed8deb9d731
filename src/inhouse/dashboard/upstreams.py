"""``/upstreams``: who answers, for which tasks, and how it goes.

The handlers run on the event loop, where the calls change the breakers.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.dashboard.shell import Operating, Page, Reading
from inhouse.dashboard.upstreams_view import Model, Upstream, ask, own_models, upstreams_of
from inhouse.gateway.probe import Probed

router = APIRouter()


@router.get("/upstreams")
async def show(page: Reading) -> Response:
    """Every upstream with its models and breakers."""
    return _show(page)


@router.post("/upstreams/{name}/probe")
async def try_now(name: str, page: Operating) -> Response:
    """Ask every model of an upstream once, and show what it did."""
    return _show(page, asked=name, probed=await ask(page.app, name))


@router.post("/upstreams/reset")
async def reset(page: Operating) -> Response:
    """Close a breaker by hand."""
    reference = page.sent.get("reference", "")
    page.app.breakers.reset(reference)
    return page.redirect(
        "/upstreams", toast=f"Breaker of {reference} closed; the next call goes to it"
    )


def _show(page: Page, *, asked: str = "", probed: Sequence[Probed] = ()) -> Response:
    found, own = upstreams_of(page.app), own_models(page.app)
    resting = _resting(found, own)
    return page.render(
        "upstreams/list.html",
        title=f"Upstreams, {len(resting)} open" if resting else "Upstreams",
        nav="upstreams",
        upstreams=found,
        own=own,
        resting=resting,
        asked=asked,
        probed=probed,
        settings=page.app.settings.breaker,
    )


def _resting(found: Sequence[Upstream], own: Sequence[Model]) -> list[Model]:
    """Models that are left alone now, or on trial."""
    models = [*(model for upstream in found for model in upstream.models), *own]
    return [model for model in models if model.breaker and model.breaker.state != "closed"]
