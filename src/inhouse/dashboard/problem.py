"""Errors as pages, for browsers that ask for HTML outside the API."""

from __future__ import annotations

from contextlib import suppress
from http import HTTPStatus
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from inhouse.core.errors import Denied, InhouseError, Unauthenticated
from inhouse.dashboard.shell import Page, site_of

_TITLES = {
    401: "No access",
    403: "No right",
    404: "Nothing here",
    429: "Too many requests",
    500: "Something went wrong",
    503: "Not now",
}
_API = ("/v1/", "/metrics", "/healthz", "/readyz", "/openapi.json")


def wants_page(path: str, accept: str, *, is_htmx: bool) -> bool:
    """Whether an error is told as HTML: on a page's path, to a browser."""
    return not path.startswith(_API) and (is_htmx or "text/html" in accept)


async def show(request: Request, error: InhouseError, status: int) -> Response:
    """An error as a page, as a message in the present page (HTMX), or the way to sign in."""
    site = site_of(request)
    page = Page(request, site, None)
    if isinstance(error, Unauthenticated) and not site.door.is_open:
        return _sign_in(page)
    with suppress(Denied):
        page = Page(request, site, await site.door.find(request, renews=False))
    title = _TITLES.get(status, HTTPStatus(status).phrase.capitalize())
    response = page.render(
        "problem.html", title=title, nav="", status=status, error=error, problem_status=status
    )
    if page.fragment:
        response.headers["hx-retarget"] = "#toasts"
        response.headers["hx-reswap"] = "innerHTML"
    return response


def _sign_in(page: Page) -> Response:
    path = page.path if page.request.method == "GET" or page.fragment else "/"
    return page.redirect("/login" if path == "/" else f"/login?next={quote(path, safe='')}")
