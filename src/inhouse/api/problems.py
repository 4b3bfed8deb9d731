"""Errors on the wire: RFC 9457 problem JSON, and OpenAI's shape on the OpenAI routes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar, Final

import msgspec
from sqlalchemy.exc import StatementError

from inhouse.client.models import OpenAIError, OpenAIErrorBody, Problem
from inhouse.core.errors import BackendError, Exhausted, InhouseError, Invalid, Unavailable
from inhouse.core.log import Log

Headers = list[tuple[bytes, bytes]]
CALL: Final = "inhouse.call"
"""Where a request's scope holds the id of the interaction that it became."""

_log = Log("inhouse.api")
_OPENAI_ROUTES = ("/v1/chat/", "/v1/models", "/v1/decisions", "/v1/embeddings")
_OPENAI_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    429: "rate_limit_error",
}
_PASSED_ON = (400, 413, 422)
_NEVER_ASKED = ("task-not-found", "record-failed")


class FieldError(Invalid):
    """A field of the request does not fit; ``field`` is its path, such as ``tags.source``."""

    def __init__(
        self, message: str, *, field: str, code: str = "invalid-field", hint: str = ""
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.field = field


class BadRequest(FieldError):
    """The request cannot be read at all, or asks for what this server does not do."""

    status: ClassVar[int] = 400


class TooLarge(InhouseError):
    """The body is over the limit."""

    status: ClassVar[int] = 413
    default_code: ClassVar[str] = "body-too-large"


class MethodNotAllowed(InhouseError):
    """The path exists, the method does not."""

    status: ClassVar[int] = 405
    default_code: ClassVar[str] = "method-not-allowed"


class UnsupportedType(InhouseError):
    """The body is said to be something other than JSON."""

    status: ClassVar[int] = 415
    default_code: ClassVar[str] = "not-json"


def unexpected(error: Exception, scope: Mapping[str, Any]) -> InhouseError:
    """Log an error that nobody foresaw, with its trace and without the request's content: neither
    local variables nor the parameters of a statement."""
    if isinstance(error, StatementError):
        error.hide_parameters = True
    _log.unforeseen("unexpected error", error, path=scope["path"])
    return InhouseError(
        "something went wrong inside the server",
        hint="its log has the details; inputs are never in it",
    )


def render(error: InhouseError, scope: Mapping[str, Any]) -> tuple[int, Headers, bytes]:
    """Status, headers and body of the answer to a request that ended in an error."""
    status = status_of(error)
    openai = scope["path"].startswith(_OPENAI_ROUTES)
    body = msgspec.json.encode(_openai(error, status) if openai else _problem(error, status))
    kind = b"application/json" if openai else b"application/problem+json"
    headers = [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    if (seconds := _retry_after(error, status)) is not None:
        headers.append((b"retry-after", b"%d" % seconds))
    if status == HTTPStatus.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    call = error.interaction_id or scope.get(CALL)
    if call and _is_recorded(error):
        headers.append((b"x-inhouse-interaction-id", call.encode()))
    return status, headers, body


def _is_recorded(error: InhouseError) -> bool:
    """Whether a call that ended so is kept: one that no backend was asked for is not."""
    return not isinstance(error, Invalid | Exhausted) and error.code not in _NEVER_ASKED


def status_of(error: InhouseError) -> int:
    """The HTTP status of an error.

    A backend's refusal of the request itself (400, 413, 422), its rate limit (429), and what a lone
    one says of a model that it does not know (404) are told as they are, and so is a limit of ours
    on an upstream (429). What no embedded model can be asked is 422, everything else that a backend
    did wrong is 502.
    """
    if isinstance(error, BackendError):
        if error.code == "upstream-limit":
            return HTTPStatus.TOO_MANY_REQUESTS
        if error.fatal and error.code == "unsupported":
            return HTTPStatus.UNPROCESSABLE_ENTITY
        if error.fatal and error.upstream_status in _PASSED_ON:
            return error.upstream_status
        if error.upstream_status in (HTTPStatus.NOT_FOUND, HTTPStatus.TOO_MANY_REQUESTS):
            return error.upstream_status
    return error.status


def _retry_after(error: InhouseError, status: int) -> int | None:
    """Whole seconds, rounded up; every 429 and 503 has one."""
    if isinstance(error, Exhausted | Unavailable | BackendError) and error.retry_after is not None:
        return max(1, math.ceil(error.retry_after))
    return 1 if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE) else None


def _problem(error: InhouseError, status: int) -> Problem:
    return Problem(
        type=f"urn:inhouse:error:{error.code}",
        title=error.code.replace("-", " ").capitalize(),
        status=status,
        detail=error.message,
        code=error.code,
        hint=error.hint,
    )


def _openai(error: InhouseError, status: int) -> OpenAIError:
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return OpenAIError(
        error=OpenAIErrorBody(
            message=f"{error.message} ({error.hint})" if error.hint else error.message,
            type=_OPENAI_TYPES.get(status, kind),
            code=error.code,
            param=error.field if isinstance(error, FieldError) else None,
        )
    )
