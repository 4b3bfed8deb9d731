"""The hot routes: calls of tasks, chats and feedback, without a framework in between."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec

from inhouse.api.auth import Access, Principal
from inhouse.api.body import Receive, Scope, convert, header, parse, read_body
from inhouse.api.chat import check_supported, completion, task_input
from inhouse.api.hangup import unless_gone
from inhouse.api.problems import CALL, FieldError, Headers
from inhouse.bootstrap import App
from inhouse.client.models import (
    ChatRequest,
    FeedbackRequest,
    FeedbackResponse,
    RunRequest,
    RunResponse,
)
from inhouse.core.ids import new_id
from inhouse.core.references import Reference, ReferenceKind, parse_reference
from inhouse.feedback.submit import submit
from inhouse.gateway.entry import Call, ChatCall, Outcome
from inhouse.gateway.idempotency import Idempotency, RepeatableCall
from inhouse.gateway.keys import Permission

LONGEST_UNIT = 256
_run_decoder = msgspec.json.Decoder(RunRequest)
_feedback_decoder = msgspec.json.Decoder(FeedbackRequest)
_object_decoder = msgspec.json.Decoder(dict[str, Any])
_encode = msgspec.json.Encoder().encode


class Response(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


class HotRoutes:
    """The handlers. Each one reads its request, asks one domain function and answers; what it
    raises becomes an error in the dispatcher."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access
        self._idempotency = Idempotency(app.database, clock=app.clock)

    async def run(self, task: str, scope: Scope, receive: Receive) -> Response:
        """``POST /v1/tasks/{task}/run``"""
        who = self._access.require(scope, Permission.CALL)
        request = parse(_run_decoder, await read_body(scope, receive))
        key = header(scope, b"idempotency-key")
        if key is None:
            answer = await unless_gone(receive, self._run(task, request, who, scope))
            return _json(answer, answer.interaction_id, answer.model_version, answer.arm)
        call = RepeatableCall(
            scope=who.key_id or "",
            key=key,
            request=[task, request],
            timeout_s=self._app.catalog.get(task).timeout_s,
        )

        async def execute() -> str:
            return _encode(await self._run(task, request, who, scope)).decode()

        stored = await unless_gone(receive, self._idempotency.run(call, execute))
        answer = msgspec.json.decode(stored, type=RunResponse)
        return _json(answer, answer.interaction_id, answer.model_version, answer.arm)

    async def chat(self, scope: Scope, receive: Receive) -> Response:
        """``POST /v1/chat/completions``"""
        who = self._access.require(scope, Permission.CALL)
        body = parse(_object_decoder, await read_body(scope, receive))
        request = convert(body, ChatRequest)
        check_supported(request)
        reference = parse_reference(request.model)
        unit = _unit(scope, request)
        if reference.kind in (ReferenceKind.TASK, ReferenceKind.VERSION):
            return await self._chat_task(reference, request, unit, who, scope, receive)
        scope[CALL] = new_id()
        chat = ChatCall(
            interaction_id=scope[CALL],
            reference=request.model,
            body=body,
            unit=unit,
            tags=request.metadata,
            key_id=who.key_id,
        )
        outcome = await unless_gone(receive, self._app.gateway.chat(chat))
        return _json(outcome.body, outcome.interaction_id, outcome.model_version, outcome.arm)

    async def feedback(self, scope: Scope, receive: Receive) -> Response:
        """``POST /v1/feedback``"""
        who = self._access.require(scope, Permission.CALL)
        request = parse(_feedback_decoder, await read_body(scope, receive))
        key = header(scope, b"idempotency-key")
        scoped = None if key is None else f"{who.key_id or ''}:{key}"
        answer = await asyncio.to_thread(self._submit, request, scoped)
        return _json(answer, request.interaction_id, None, None)

    async def _chat_task(
        self,
        reference: Reference,
        request: ChatRequest,
        unit: str | None,
        who: Principal,
        scope: Scope,
        receive: Receive,
    ) -> Response:
        scope[CALL] = new_id()
        call = Call(
            interaction_id=scope[CALL],
            task=reference.name,
            text=task_input(request),
            unit=unit,
            tags=request.metadata,
            model=str(reference) if reference.kind is ReferenceKind.VERSION else None,
            key_id=who.key_id,
        )
        outcome = await unless_gone(receive, self._app.gateway.run(call))
        answer = completion(
            outcome.interaction_id,
            outcome.output,
            outcome.model_version or request.model,
            outcome.usage,
            int(self._app.clock.now().timestamp()),
        )
        return _json(answer, outcome.interaction_id, outcome.model_version, outcome.arm)

    async def _run(
        self, task: str, request: RunRequest, who: Principal, scope: Scope
    ) -> RunResponse:
        scope[CALL] = new_id()
        call = Call(
            interaction_id=scope[CALL],
            task=task,
            text=request.input,
            unit=request.unit,
            subject=request.subject,
            tags=request.tags,
            model=request.model,
            key_id=who.key_id,
        )
        return _answer(await self._app.gateway.run(call))

    def _submit(self, request: FeedbackRequest, key: str | None) -> FeedbackResponse:
        with self._app.database.write() as unit:
            stored = submit(
                unit,
                interaction_id=request.interaction_id,
                kind=request.kind,
                value=request.value,
                author=request.author,
                idempotency_key=key,
                at=self._app.clock.now(),
                catalog=self._app.catalog,
            )
        return FeedbackResponse(
            id=stored.id,
            interaction_id=stored.interaction_id,
            kind=stored.kind,
            value=stored.value,
            author=stored.author,
            created_at=stored.created_at.isoformat(),
        )


def _unit(scope: Scope, request: ChatRequest) -> str | None:
    unit = header(scope, b"x-inhouse-unit")
    if unit is None:
        return request.user
    if not 1 <= len(unit) <= LONGEST_UNIT:
        raise FieldError(
            f"the header x-inhouse-unit has 1 to {LONGEST_UNIT} characters", field="x-inhouse-unit"
        )
    return unit


def _answer(outcome: Outcome) -> RunResponse:
    return RunResponse(
        interaction_id=outcome.interaction_id,
        task=outcome.task,
        output=dict(outcome.output),
        model_version=outcome.model_version,
        arm=outcome.arm,
        flagged=outcome.flagged,
        latency_ms=outcome.latency_ms,
        cost=outcome.cost,
        probabilities=None if outcome.probabilities is None else dict(outcome.probabilities),
    )


def _json(
    answer: msgspec.Struct | Mapping[str, Any],
    interaction_id: str,
    model_version: str | None,
    arm: str | None,
) -> Response:
    body = _encode(answer)
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        (b"x-inhouse-interaction-id", interaction_id.encode()),
    ]
    if model_version is not None:
        headers.append((b"x-inhouse-model-version", _ascii(model_version)))
    if arm is not None:
        headers.append((b"x-inhouse-arm", arm.encode()))
    return Response(200, headers, body)


def _ascii(reference: str) -> bytes:
    """A reference as a header's value: what is not ASCII is percent-encoded."""
    return (reference if reference.isascii() else quote(reference, safe="/@:")).encode()
