"""One OpenAPI document for both halves: FastAPI's own, and the hot routes added to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from fastapi import FastAPI

from inhouse.client.batch import BatchRequest, BatchResponse
from inhouse.client.decisions import DecisionMessage, DecisionRequest, DecisionResponse
from inhouse.client.embeddings import EmbeddingRequest, EmbeddingResponse
from inhouse.client.models import (
    ChatRequest,
    ChatResponse,
    FeedbackRequest,
    FeedbackResponse,
    Health,
    OpenAIError,
    Problem,
    RunRequest,
    RunResponse,
)

_MODELS = (
    RunRequest,
    RunResponse,
    BatchRequest,
    BatchResponse,
    FeedbackRequest,
    FeedbackResponse,
    ChatRequest,
    ChatResponse,
    DecisionRequest,
    DecisionResponse,
    DecisionMessage,
    EmbeddingRequest,
    EmbeddingResponse,
    Health,
    Problem,
    OpenAIError,
)
_STATUSES = {
    "400": "Not JSON, or something that this server does not do.",
    "401": "No key, or one that is unknown or revoked.",
    "403": "A key whose role may not.",
    "404": "No such task, version or upstream.",
    "409": "The idempotency key was used for another request.",
    "413": "The body is over the limit (`server.body_limit_mb`).",
    "415": "The body is not declared as JSON.",
    "422": "A field does not fit; the message names it.",
    "429": "A limit is used up; see Retry-After.",
    "502": "A model failed.",
    "503": "No model answered, or the call cannot be recorded; see Retry-After.",
}
_HEADERS = {
    "x-inhouse-interaction-id": "The recorded call.",
    "x-inhouse-model-version": "The reference that answered; empty when none could.",
    "x-inhouse-arm": "incumbent, candidate, pinned or forced.",
    "x-inhouse-warning": "Which limits are nearly used up; absent when none is.",
}
_IDEMPOTENCY = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "Repeating a request with the same key gives the first answer again.",
}
_TASK = {"name": "task", "in": "path", "required": True, "schema": {"type": "string"}}
_UNIT = {
    "name": "x-inhouse-unit",
    "in": "header",
    "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": 256},
    "description": "What a split is drawn over; otherwise `user`, otherwise the call itself.",
}


def describe(control: FastAPI) -> None:
    """Make ``control.openapi`` give the whole document, made once."""
    own = control.openapi

    def whole() -> dict[str, Any]:
        document = own()
        if "/v1/feedback" not in document["paths"]:
            _add(document)
        return document

    control.openapi = whole  # type: ignore[method-assign]


def _add(document: dict[str, Any]) -> None:
    references, schemas = msgspec.json.schema_components(
        _MODELS, ref_template="#/components/schemas/{name}"
    )
    refs = {model: reference for model, reference in zip(_MODELS, references, strict=True)}
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(schemas)
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"key": []}, {}]
    document["paths"] |= _of_probes(refs)
    _tell_errors(document, refs)
    document["paths"] |= _of_tasks(refs) | _of_openai(refs)
    decisions = document["paths"]["/v1/decisions"]["post"]["responses"]["200"]["headers"]
    decisions["x-inhouse-calibrated"] = {
        "description": "true when the probabilities are the model's own, false when it only said "
        "its answer.",
        "schema": {"type": "string", "enum": ["true", "false"]},
    }
    _say_that_it_streams(document["paths"]["/v1/chat/completions"]["post"])


def _of_tasks(refs: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """Calls of tasks, and what is said about them."""
    return {
        "/v1/tasks/{task}/run": _post(
            "Ask a task",
            refs[RunRequest],
            refs[RunResponse],
            refs[Problem],
            [_TASK, _IDEMPOTENCY],
        ),
        "/v1/tasks/{task}/run-batch": _post(
            "Ask a task for many inputs",
            refs[BatchRequest],
            refs[BatchResponse],
            refs[Problem],
            [_TASK],
        ),
        "/v1/feedback": _post(
            "Say something about an interaction",
            refs[FeedbackRequest],
            refs[FeedbackResponse],
            refs[Problem],
            [_IDEMPOTENCY],
        ),
    }


def _of_openai(refs: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """The routes that speak OpenAI's format."""
    return {
        "/v1/chat/completions": _post(
            "Ask a task or a model in OpenAI's format",
            refs[ChatRequest],
            refs[ChatResponse],
            refs[OpenAIError],
            [_UNIT],
        ),
        "/v1/decisions": _post(
            "Ask typed questions in OpenAI's format",
            refs[DecisionRequest],
            refs[DecisionResponse],
            refs[OpenAIError],
            [_UNIT],
        ),
        "/v1/embeddings": _post(
            "Turn texts into vectors in OpenAI's format",
            refs[EmbeddingRequest],
            refs[EmbeddingResponse],
            refs[OpenAIError],
            [_UNIT],
        ),
    }


def _of_probes(refs: Mapping[Any, dict[str, Any]]) -> dict[str, Any]:
    """What tells whether the server runs."""
    told = {
        "/healthz": ("Healthz", "The process answers. Open to everybody."),
        "/readyz": (
            "Readyz",
            "Calls can be answered: the recorder has room, and the database answers. 503 "
            "otherwise, except that a server which answers calls that it cannot record "
            '(`on_record_failure = "answer"`) says `cut-off`, with the age of its routes. Open to '
            "everybody.",
        ),
    }
    return {
        path: {
            "get": {
                "tags": ["operation"],
                "summary": summary,
                "description": text,
                "responses": {
                    "200": {
                        "description": "The answer.",
                        "content": {"application/json": {"schema": refs[Health]}},
                    }
                },
            }
        }
        for path, (summary, text) in told.items()
    }


def _say_that_it_streams(operation: dict[str, Any]) -> None:
    operation["responses"]["200"]["content"]["text/event-stream"] = {"schema": {"type": "string"}}


def _tell_errors(document: dict[str, Any], refs: dict[Any, dict[str, Any]]) -> None:
    """What FastAPI says of errors gives way to what this server answers."""
    for path, operations in document["paths"].items():
        model = OpenAIError if path.startswith("/v1/models") else Problem
        kind = "json" if model is OpenAIError else "problem+json"
        refused = {
            "description": "Refused, or failed; `code` is stable and `hint` says what to do.",
            "content": {f"application/{kind}": {"schema": refs[model]}},
        }
        for operation in operations.values():
            operation["responses"].pop("422", None)
            operation["responses"]["default"] = refused
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)


def _post(
    summary: str,
    request: dict[str, Any],
    answer: dict[str, Any],
    error: dict[str, Any],
    parameters: list[dict[str, Any]],
) -> dict[str, Any]:
    kind = "json" if error["$ref"].endswith("OpenAIError") else "problem+json"
    headers = {
        name: {"description": text, "schema": {"type": "string"}} for name, text in _HEADERS.items()
    }
    errors = {
        status: {"description": text, "content": {f"application/{kind}": {"schema": error}}}
        for status, text in _STATUSES.items()
    }
    done = {
        "description": "The answer.",
        "headers": headers,
        "content": {"application/json": {"schema": answer}},
    }
    return {
        "post": {
            "tags": ["calls"],
            "summary": summary,
            "parameters": parameters,
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": request}},
            },
            "responses": {"200": done, **errors},
        }
    }
