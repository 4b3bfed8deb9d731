"""Signing in with a key, and out."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from inhouse.core.errors import Denied, Exhausted, InhouseError
from inhouse.dashboard.access import COOKIE
from inhouse.dashboard.security import safe_path
from inhouse.dashboard.session import LASTS
from inhouse.dashboard.shell import Calling, Page, Site, site_of
from inhouse.gateway.keys import Key, Permission

router = APIRouter()
Next = Annotated[str, Query(max_length=2000)]


@router.get("/login")
async def ask(request: Request, next: Next = "/") -> Response:  # noqa: A002 the field's name
    """The form, or the way on for whoever needs none."""
    site = site_of(request)
    page = Page(request, site, None)
    try:
        await site.door.find(request, renews=False)
    except Denied:
        return _form(page, next)
    return page.redirect(next)


@router.post("/login")
async def sign_in(request: Request) -> Response:
    """Open a session for a key that may look at pages."""
    site = site_of(request)
    page = Page(request, site, None)
    await page.take_form()
    onward = safe_path(page.sent.get("next", "/"))
    try:
        key = _check(site, _peer(request), page.sent.get("key", "").strip())
    except (Denied, Exhausted) as error:
        return _form(page, onward, error)
    response = page.redirect(onward)
    token = await run_in_threadpool(site.door.sessions.begin, key)
    page.set_cookie(response, COOKIE, token, max_age=int(LASTS.total_seconds()))
    return response


@router.post("/logout")
async def sign_out(page: Calling) -> Response:
    """Close the session."""
    if page.session is not None:
        await run_in_threadpool(page.site.door.sessions.end, page.session)
    response = page.redirect("/login")
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return response


def _check(site: Site, peer: str, presented: str) -> Key:
    site.failures.admit(peer)
    try:
        key = site.app.keys.find(presented)
        key.require(Permission.READ)
    except Denied:
        site.failures.add(peer)
        raise
    return key


def _form(page: Page, onward: str, error: InhouseError | None = None) -> Response:
    status = 200 if error is None else error.status
    return page.render(
        "login/form.html", title="Sign in", status=status, onward=safe_path(onward), error=error
    )


def _peer(request: Request) -> str:
    return "" if request.client is None else request.client.host
