"""The hot routes: calls of tasks, chats and feedback, without a framework in between."""

from __future__ import annotations

import asyncio
from typing import Final

import msgspec

from inhouse.api.auth import Access, Principal
from inhouse.api.body import Receive, Scope, header, parse, read_body
from inhouse.api.chat import content_of, events, read_chat, read_whole, task_input
from inhouse.api.hangup import unless_gone
from inhouse.api.problems import CALL
from inhouse.api.respond import Response, Streamed, as_events, as_json
from inhouse.api.unit import unit_of
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
from inhouse.gateway.chat import completion_of
from inhouse.gateway.entry import Call, ChatCall, Outcome
from inhouse.gateway.idempotency import Idempotency, RepeatableCall
from inhouse.gateway.keys import Permission

_run_decoder = msgspec.json.Decoder(RunRequest)
_feedback_decoder = msgspec.json.Decoder(FeedbackRequest)
_encode = msgspec.json.Encoder().encode
_CALL: Final = Permission.CALL
_TASK: Final = ReferenceKind.TASK
_VERSION: Final = ReferenceKind.VERSION


class HotRoutes:
    """The handlers. Each one reads its request, asks one domain function and answers; what it
    raises becomes an error in the dispatcher."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access
        self._idempotency = Idempotency(app.database, clock=app.clock)

    async def run(self, task: str, scope: Scope, receive: Receive) -> Response:
        """``POST /v1/tasks/{task}/run``"""
        who = self._access.require(scope, _CALL)
        request = parse(_run_decoder, await read_body(scope, receive, self._app.body_limit))
        key = header(scope, b"idempotency-key")
        if key is None:
            outcome = await unless_gone(scope, self._run(task, request, who, scope))
            return as_json(_encode(_answer(outcome)), outcome)
        call = RepeatableCall(
            scope=who.key_id or "",
            key=key,
            request=[task, request],
            timeout_s=self._app.catalog.get(task).timeout_s,
        )

        async def execute() -> str:
            return _encode(_answer(await self._run(task, request, who, scope))).decode()

        stored = await unless_gone(scope, self._idempotency.run(call, execute))
        return as_json(stored.encode(), msgspec.json.decode(stored, type=_Stored))

    async def run_one(
        self, task: str, request: RunRequest, who: Principal, scope: Scope
    ) -> RunResponse:
        """One input of a batch; notes the call in the scope."""
        return _answer(await self._run(task, request, who, scope))

    async def chat(self, scope: Scope, receive: Receive) -> Response | Streamed:
        """``POST /v1/chat/completions``"""
        who = self._access.require(scope, _CALL)
        raw = await read_body(scope, receive, self._app.body_limit)
        head, body = read_chat(raw)
        reference = parse_reference(head.model)
        scope[CALL] = new_id()
        unit = unit_of(scope, head.user)
        if self._is_typed(reference):
            return await self._chat_task(reference, read_whole(raw), unit, who, scope)
        chat = ChatCall(
            interaction_id=scope[CALL],
            reference=head.model,
            body=body,
            unit=unit,
            tags=head.metadata,
            key=who.key,
        )
        if head.stream:
            stream = await unless_gone(scope, self._app.chats.stream(chat))
            return as_events(stream.pieces(), stream)
        outcome = await unless_gone(scope, self._app.chats.answer(chat))
        return as_json(outcome.body, outcome)

    async def feedback(self, scope: Scope, receive: Receive) -> Response:
        """``POST /v1/feedback``"""
        who = self._access.require(scope, _CALL)
        request = parse(_feedback_decoder, await read_body(scope, receive, self._app.body_limit))
        key = header(scope, b"idempotency-key")
        scoped = None if key is None else f"{who.key_id or ''}:{key}"
        body = _encode(await asyncio.to_thread(self._submit, request, scoped))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-inhouse-interaction-id", request.interaction_id.encode()),
        ]
        return Response(200, headers, body)

    def _is_typed(self, reference: Reference) -> bool:
        """Whether a chat with this model is a call of a task that has a prompt of its own."""
        if reference.kind is _VERSION:
            return True
        task = reference.kind is _TASK
        return task and not self._app.catalog.get(reference.name).takes_messages

    async def _chat_task(
        self,
        reference: Reference,
        request: ChatRequest,
        unit: str | None,
        who: Principal,
        scope: Scope,
    ) -> Response | Streamed:
        spec = self._app.catalog.get(reference.name)
        call = Call(
            interaction_id=scope[CALL],
            task=reference.name,
            text=task_input(request),
            unit=unit,
            tags=request.metadata,
            model=str(reference) if reference.kind is _VERSION else None,
            key=who.key,
        )
        outcome = await unless_gone(scope, self._app.gateway.run(call))
        content = content_of(spec, outcome.output)
        model = outcome.model_version or request.model
        at = self._app.clock.now()
        if request.stream:
            return as_events(events(content, model, outcome, at, request), outcome)
        answer = completion_of(content, model, outcome.interaction_id, at, outcome.usage)
        return as_json(answer, outcome)

    async def _run(self, task: str, request: RunRequest, who: Principal, scope: Scope) -> Outcome:
        scope[CALL] = new_id()
        call = Call(
            interaction_id=scope[CALL],
            task=task,
            text=request.input,
            unit=request.unit,
            subject=request.subject,
            tags=request.tags,
            model=request.model,
            key=who.key,
        )
        return await self._app.gateway.run(call)

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
                redactor=self._app.content.redactor,
            )
        return FeedbackResponse(
            id=stored.id,
            interaction_id=stored.interaction_id,
            kind=stored.kind,
            value=stored.value,
            author=stored.author,
            created_at=stored.created_at.isoformat(),
        )


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


class _Stored(msgspec.Struct):
    """The part of a stored answer that stands in headers."""

    interaction_id: str
    model_version: str
    arm: str
    warnings: tuple[str, ...] = ()
