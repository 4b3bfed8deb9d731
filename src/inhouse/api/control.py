"""The control API and the pages: everything that is not hot, on FastAPI."""

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
    independence,
    interactions,
    jobs,
    limits,
    lineage,
    metrics,
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
    metrics,
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


def control(wired: App, access: Access, stopping: asyncio.Event, reloading: Reloading) -> FastAPI:
    """The application over a wired App. ``stopping`` is set when streams of events have to end."""
    made = FastAPI(
        title="Inhouse",
        version=__version__,
        description="Brings your AI in house.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    made.state.wired, made.state.access, made.state.stopping = wired, access, stopping
    made.state.reloading = reloading
    for area in _AREAS:
        made.include_router(area.router)
    made.add_exception_handler(InhouseError, _answer)
    made.add_exception_handler(RequestValidationError, _answer)
    made.add_exception_handler(HTTPException, _answer)
    made.add_exception_handler(Exception, _answer)
    describe(made)
    mount(made, wired, reloading)
    return made


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
