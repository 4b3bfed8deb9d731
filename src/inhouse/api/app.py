"""The ASGI application over a wired App."""

from __future__ import annotations

import asyncio

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import Response

from inhouse import __version__
from inhouse.api import (
    alerts,
    audit,
    automation,
    breakers,
    contents,
    datasets,
    drift,
    evaluations,
    experiments,
    health,
    independence,
    interactions,
    jobs,
    limits,
    lineage,
    overview,
    rollouts,
    routes,
    settings,
    store,
    subjects,
    tasks,
    training,
    upstreams,
    versions,
)
from inhouse.api.auth import Access
from inhouse.api.dispatch import Dispatcher
from inhouse.api.document import describe
from inhouse.api.problems import (
    BadRequest,
    FieldError,
    MethodNotAllowed,
    render,
    status_of,
    unexpected,
)
from inhouse.bootstrap import App
from inhouse.core.errors import InhouseError, NotFound
from inhouse.dashboard import problem
from inhouse.dashboard.site import mount
from inhouse.reload import Reloading

_AREAS = (
    tasks,
    interactions,
    overview,
    datasets,
    contents,
    training,
    versions,
    evaluations,
    routes,
    rollouts,
    experiments,
    audit,
    drift,
    jobs,
    independence,
    health,
    alerts,
    settings,
    breakers,
    upstreams,
    limits,
    store,
    lineage,
    subjects,
    automation,
)
_CODES = {"missing": "missing-field", "extra_forbidden": "unknown-field"}


def app(wired: App) -> Dispatcher:
    """The ASGI application. Its lifespan starts the App and, at the end, stops it."""
    access = Access(wired.keys)
    stopping = asyncio.Event()
    reloading = Reloading(wired)
    control = _control(wired, access, stopping)
    control.state.reloading = reloading
    mount(control, wired, reloading)
    return Dispatcher(wired, access, control, stopping, reloading)


def _control(wired: App, access: Access, stopping: asyncio.Event) -> FastAPI:
    control = FastAPI(
        title="Inhouse",
        version=__version__,
        description="Brings your AI in house.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    control.state.wired, control.state.access, control.state.stopping = wired, access, stopping
    for area in _AREAS:
        control.include_router(area.router)
    control.add_exception_handler(InhouseError, _answer)
    control.add_exception_handler(RequestValidationError, _answer)
    control.add_exception_handler(HTTPException, _answer)
    control.add_exception_handler(Exception, _answer)
    describe(control)
    return control


async def _answer(request: Request, error: Exception) -> Response:
    known = _known(request, error)
    accept, is_htmx = request.headers.get("accept", ""), "hx-request" in request.headers
    if problem.wants_page(request.url.path, accept, is_htmx=is_htmx):
        return await problem.show(request, known, status_of(known))
    status, headers, body = render(known, request.scope)
    response = Response(body, status)
    response.raw_headers = headers
    return response


def _known(request: Request, error: Exception) -> InhouseError:
    match error:
        case InhouseError():
            return error
        case RequestValidationError():
            return _field_error(error)
        case HTTPException(status_code=405):
            return MethodNotAllowed(f"{request.url.path} does not take {request.method}")
        case HTTPException(status_code=404):
            return NotFound(
                f"there is nothing at {request.url.path}",
                code="no-such-path",
                hint="see /openapi.json",
            )
        case HTTPException():
            return BadRequest(str(error.detail), field="", code="bad-request")
        case _:
            return unexpected(error, request.scope)


def _field_error(error: RequestValidationError) -> FieldError:
    """The first thing that does not fit, with the path of its field."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"][1:])
    code = _CODES.get(first["type"], "invalid-field")
    return FieldError(f"{field or 'the body'}: {first['msg']}", field=field, code=code)
