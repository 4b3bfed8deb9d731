"""What every page is made with: who looks at it, the form that was sent, the frame around it.

Handlers of pages take one of the dependencies ``Calling``, ``Reading``, ``Reviewing``,
``Operating`` or ``Administering``. Each of them has checked the session and its role and, for a
POST, that the form is ours. Handlers that read the database are plain functions, so that they run
beside the event loop.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

import jinja2
from fastapi import Depends
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from inhouse.bootstrap import App
from inhouse.core.errors import Invalid
from inhouse.dashboard.access import COOKIE, Door, Failures
from inhouse.dashboard.banners import Banner, banners
from inhouse.dashboard.markup import open_templates
from inhouse.dashboard.security import (
    CSRF_FIELD,
    CSRF_HEADER,
    HEADERS,
    check_form,
    csrf_token,
    is_encrypted,
    path_of,
    safe_path,
)
from inhouse.dashboard.toasts import Toast, Undo, seal, unseal
from inhouse.db.dialects import table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import Database
from inhouse.gateway.access import Principal
from inhouse.gateway.keys import Permission
from inhouse.reload import Reloading

_TOAST: Final = "inhouse_toast"
_THEME: Final = "inhouse_theme"
_KEYS: Final = "inhouse_keys"
_TOAST_S: Final = 60
_THEMES: Final = ("light", "dark")
_MOST_FIELDS: Final = 1000
_FRAME: Final = ("head",)
"""Blocks of the frame that HTMX may ask for."""
_LONGEST_REASON: Final = 500
_LARGEST: Final = 2**31 - 1


@dataclass(kw_only=True)
class Site:
    """What all pages of a server share."""

    app: App
    reloading: Reloading
    door: Door
    failures: Failures
    secret: bytes

    @cached_property
    def templates(self) -> jinja2.Environment:
        """Read with the first page: their macros take a tenth of a second."""
        return open_templates()


class Form(dict[str, str]):
    """The fields of a form; of a name that was sent more than once, the last one."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__(pairs)
        self._pairs = pairs

    def all(self, name: str) -> list[str]:
        """Every value of a name."""
        return [value for key, value in self._pairs if key == name]


class Page:
    """One request for a page.

    ``who`` is None only on pages for everybody (signing in, errors). ``sent`` holds the fields of
    a POST whose token was checked.
    """

    def __init__(self, request: Request, site: Site, who: Principal | None) -> None:
        self.request = request
        self.site = site
        self.app = site.app
        self.who = who
        self.session = request.cookies.get(COOKIE) if who is not None and who.key else None
        self.sent = Form([])

    @property
    def csrf(self) -> str:
        """The token that forms of this session carry."""
        return csrf_token(self.site.secret, self.session)

    @property
    def theme(self) -> str:
        """light, dark, or "" for what the system says."""
        chosen = self.request.cookies.get(_THEME, "")
        return chosen if chosen in _THEMES else ""

    @property
    def has_keys(self) -> bool:
        """Whether single keys of the keyboard act; the reader may switch them off."""
        return self.request.cookies.get(_KEYS) != "off"

    @property
    def fragment(self) -> bool:
        """Whether HTMX asks for a part of the page."""
        headers = self.request.headers
        return "hx-request" in headers and "hx-history-restore-request" not in headers

    @property
    def path(self) -> str:
        """Path and query of the page that is being looked at."""
        url = self.request.url
        if self.fragment and (current := self.request.headers.get("hx-current-url")):
            return path_of(current)
        return safe_path(f"{url.path}?{url.query}" if url.query else url.path)

    @property
    def actor(self) -> str:
        """The name under which decisions of whoever looks are kept."""
        return "" if self.who is None else self.who.actor

    def reason(self) -> str:
        """Why, as the form says it. Raises Invalid (code ``reason``) where it says nothing."""
        reason = self.sent.get("reason", "").strip()
        if not reason:
            raise Invalid("this needs a reason", code="reason", hint="write why")
        return reason[:_LONGEST_REASON]

    def may(self, permission: str) -> bool:
        """Whether whoever looks may do it: "call", "read", "review", "operate", "administer"."""
        return self.who is not None and self.who.may(Permission(permission))

    def render(
        self, template: str, *, title: str, nav: str = "", status: int = 200, **context: Any
    ) -> HTMLResponse:
        """A page from a template that extends ``base.html``.

        ``title`` stands in the tab, with its state if it has one; ``nav`` is the id of the present
        item of the navigation. HTMX gets the block with the name of its target's id (``-`` read as
        ``_``) if the template has one, otherwise the block ``content``.
        """
        made = self.site.templates.get_template(template)
        told = self.request.cookies.get(_TOAST, "")
        toast = unseal(self.site.secret, self.session, told) if told else None
        frame = {"page": self, "title": title, "nav": nav, "part": self._part(made), "toast": toast}
        response = HTMLResponse(made.render(**context, **frame), status, headers=_headers())
        if told:
            response.delete_cookie(_TOAST, samesite="strict", httponly=True)
        return response

    def redirect(self, path: str, *, toast: str = "", undo: Undo | None = None) -> Response:
        """Go on to a page of this server, which tells ``toast`` once, and offers ``undo``."""
        path = safe_path(path)
        if self.fragment:
            response = Response(status_code=204, headers={**_headers(), "hx-redirect": path})
        else:
            response = Response(status_code=303, headers={**_headers(), "location": path})
        if toast:
            sealed = seal(self.site.secret, self.session, Toast(toast, undo))
            self.set_cookie(response, _TOAST, sealed, max_age=_TOAST_S)
        return response

    def set_cookie(
        self, response: Response, name: str, value: str, *, max_age: int | None = None
    ) -> None:
        """A cookie that scripts and other sites do not see; Secure when the browser speaks TLS."""
        secure = is_encrypted(self.request.url.scheme, self.request.headers)
        response.set_cookie(
            name, value, max_age=max_age, httponly=True, samesite="strict", secure=secure
        )

    def banners(self) -> list[Banner]:
        """States of the whole server that the reader is to know."""
        return [] if self.who is None else banners(self.app, self.site.reloading.state)

    async def take_form(self) -> None:
        """Read the form of a POST. Raises Denied (codes ``foreign-origin``, ``form-token``) for
        one that none of our pages sent, Invalid (code ``form``) for one that cannot be read."""
        self.sent = _read(await self.request.body())
        token = self.request.headers.get(CSRF_HEADER) or self.sent.pop(CSRF_FIELD, "")
        check_form(self.request.headers, token, self.csrf)

    def _part(self, template: jinja2.Template) -> str:
        if not self.fragment:
            return ""
        target = self.request.headers.get("hx-target", "").replace("-", "_")
        return target if target in (*template.blocks, *_FRAME) else "content"


def whole_number(text: str) -> int | None:
    """A whole number of an address or a form, as the database has them: from 0 to 2^31 - 1. None
    for anything else."""
    if not text.isdecimal() or len(text) > len(str(_LARGEST)):
        return None
    found = int(text)
    return found if found <= _LARGEST else None


def site_of(request: Request) -> Site:
    """What the pages of this server share."""
    site: Site = request.app.state.site
    return site


def read_secret(database: Database) -> bytes:
    """What tokens of forms are made with: the salt of this installation."""
    table = table_of(Meta)
    with database.read() as unit:
        found = unit.execute(select(table.c.value).where(table.c.name == "salt")).scalar_one()
    return bytes.fromhex(found)


def _needs(permission: Permission) -> Callable[[Request], Awaitable[Page]]:
    async def enter(request: Request) -> Page:
        site = site_of(request)
        _check_address(request)
        is_partial = request.method == "GET" and "hx-request" in request.headers
        who = await site.door.find(request, renews=not is_partial)
        who.require(permission)
        page = Page(request, site, who)
        if request.method == "POST":
            await page.take_form()
        return page

    return enter


Calling = Annotated[Page, Depends(_needs(Permission.CALL))]
Reading = Annotated[Page, Depends(_needs(Permission.READ))]
Reviewing = Annotated[Page, Depends(_needs(Permission.REVIEW))]
Operating = Annotated[Page, Depends(_needs(Permission.OPERATE))]
Administering = Annotated[Page, Depends(_needs(Permission.ADMINISTER))]


def _check_address(request: Request) -> None:
    """Raise Invalid (code ``address``) for what no database holds."""
    if "\0" in request.scope["path"] or b"%00" in request.scope["query_string"]:
        raise Invalid("the address holds U+0000", code="address", hint="open the page anew")


def _headers() -> Mapping[str, str]:
    return {**HEADERS, "cache-control": "no-store"}


def _read(body: bytes) -> Form:
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=_MOST_FIELDS,
        )
    except ValueError:
        raise Invalid("the form cannot be read", code="form", hint="reload the page") from None
    if any("\0" in name + value for name, value in pairs):
        raise Invalid("the form holds U+0000", code="form", hint="leave that character out")
    return Form([(name, value.replace("\r\n", "\n")) for name, value in pairs])
