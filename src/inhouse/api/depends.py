"""What the control routes depend on: the wired App, and who is asking with which permission."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Query, Request

from inhouse.api.auth import Access
from inhouse.bootstrap import App
from inhouse.client.control import Id, Name
from inhouse.dashboard.access import COOKIE
from inhouse.dashboard.shell import site_of
from inhouse.gateway.access import Principal
from inhouse.gateway.keys import Permission


async def _wired(request: Request) -> App:
    app: App = request.app.state.wired
    return app


def _needs(permission: Permission) -> Callable[[Request], Awaitable[Principal]]:
    async def check(request: Request) -> Principal:
        access: Access = request.app.state.access
        if not _by_cookie(request):
            return access.require(request.scope, permission)
        who = await site_of(request).door.find(request, renews=False)
        who.require(permission)
        return who

    return check


def _by_cookie(request: Request) -> bool:
    """Whether somebody who is signed in to the pages looks at what stands behind them; only looks,
    since another site's page could send the cookie too."""
    names = request.headers
    return request.method == "GET" and COOKIE in request.cookies and "authorization" not in names


check_reader = _needs(Permission.READ)
Wired = Annotated[App, Depends(_wired)]
Caller = Annotated[Principal, Depends(_needs(Permission.CALL))]
Reader = Annotated[Principal, Depends(check_reader)]
Reviewer = Annotated[Principal, Depends(_needs(Permission.REVIEW))]
Operator = Annotated[Principal, Depends(_needs(Permission.OPERATE))]
Admin = Annotated[Principal, Depends(_needs(Permission.ADMINISTER))]

OfTask = Annotated[Name | None, Query(description="Only this task.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="At most so many.")]
PathId = Id
PathTask = Name
