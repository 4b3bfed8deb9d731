"""Errors on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from inhouse.api.problems import CALL, FieldError, render
from inhouse.core.errors import (
    BackendError,
    Conflict,
    Exhausted,
    InhouseError,
    Invalid,
    NotFound,
    Unauthenticated,
    Unavailable,
)


def answer(
    error: InhouseError, path: str = "/v1/feedback", call: str | None = None
) -> tuple[int, dict[str, str], dict[str, Any]]:
    scope = {"path": path} | ({CALL: call} if call else {})
    status, headers, body = render(error, scope)
    named = {name.decode(): value.decode() for name, value in headers}
    assert int(named["content-length"]) == len(body)
    return status, named, json.loads(body)


def test_an_error_is_problem_json() -> None:
    status, headers, body = answer(NotFound("no task 'x'", code="task-not-found", hint="look"))
    assert (status, headers["content-type"]) == (404, "application/problem+json")
    assert body == {
        "type": "urn:inhouse:error:task-not-found",
        "title": "Task not found",
        "status": 404,
        "detail": "no task 'x'",
        "code": "task-not-found",
        "hint": "look",
    }


def test_openai_routes_have_openais_shape() -> None:
    error = FieldError("stream: no", field="stream", hint="leave it out")
    status, headers, body = answer(error, "/v1/chat/completions")
    assert (status, headers["content-type"]) == (422, "application/json")
    assert body == {
        "error": {
            "message": "stream: no (leave it out)",
            "type": "invalid_request_error",
            "code": "invalid-field",
            "param": "stream",
        }
    }


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (Unauthenticated("x"), 401, "authentication_error"),
        (NotFound("x"), 404, "not_found_error"),
        (Conflict("x"), 409, "conflict_error"),
        (Invalid("x"), 422, "invalid_request_error"),
        (Exhausted("x"), 429, "rate_limit_error"),
        (InhouseError("x"), 500, "server_error"),
        (Unavailable("x"), 503, "server_error"),
        (BackendError("x"), 502, "server_error"),
        (BackendError("x", code="unsupported"), 502, "server_error"),
        (BackendError("x", code="unsupported", fatal=True), 422, "invalid_request_error"),
        (BackendError("x", upstream_status=429), 429, "rate_limit_error"),
        (BackendError("x", upstream_status=400, fatal=True), 400, "invalid_request_error"),
        (BackendError("x", upstream_status=422, fatal=True), 422, "invalid_request_error"),
        (BackendError("x", upstream_status=404), 404, "not_found_error"),
        (BackendError("x", upstream_status=401), 502, "server_error"),
        (BackendError("x", upstream_status=503), 502, "server_error"),
    ],
)
def test_every_error_has_its_status_and_openai_type(
    error: InhouseError, status: int, kind: str
) -> None:
    found, _, body = answer(error, "/v1/chat/completions")
    assert (found, body["error"]["type"]) == (status, kind)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Unavailable("x"), "1"),
        (Unavailable("x", retry_after=2.1), "3"),
        (Exhausted("x", retry_after=0.0), "1"),
        (BackendError("x", upstream_status=429, retry_after=7.0), "7"),
        (BackendError("x", upstream_status=429), "1"),
        (Invalid("x"), None),
        (BackendError("x"), None),
    ],
)
def test_who_may_come_back_hears_when(error: InhouseError, seconds: str | None) -> None:
    assert answer(error)[1].get("retry-after") == seconds


def test_who_has_no_key_hears_how_to_present_one() -> None:
    assert answer(Unauthenticated("x"))[1]["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (BackendError("x"), True),
        (Unavailable("x", code="no-backend"), True),
        (NotFound("x", code="upstream-not-found"), True),
        (InhouseError("x"), True),
        (Invalid("x"), False),
        (NotFound("x", code="task-not-found"), False),
        (Unavailable("x", code="record-failed"), False),
    ],
)
def test_an_error_names_its_interaction_where_one_is_kept(
    error: InhouseError, *, named: bool
) -> None:
    assert ("x-inhouse-interaction-id" in answer(error, call="an-id")[1]) is named
    assert "x-inhouse-interaction-id" not in answer(error)[1]
    error.interaction_id = "another-id"
    if named:
        assert answer(error, call="an-id")[1]["x-inhouse-interaction-id"] == "another-id"
