"""Chats that pass through: to one model, or along the route of a task that takes messages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar, cast

import msgspec

from inhouse.core.errors import InhouseError
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.gateway.call import Gateway, Plan, check_model
from inhouse.gateway.chat import (
    completion_of,
    events_of,
    passed_on,
    recorded_reply,
    spelt_out,
    usage_of_chat,
)
from inhouse.gateway.entry import ChatCall, ChatOutcome
from inhouse.gateway.fallback import AllFailed, Chain
from inhouse.gateway.route import Arm
from inhouse.gateway.shadow import Copied
from inhouse.gateway.stream import ChatStream, WholeReply
from inhouse.gateway.trace import Trace
from inhouse.inference.base import Backend, Question, Reply, ReplyStream, Streaming, Usage
from inhouse.inference.upstream_chat import chunks_of
from inhouse.interactions.outcomes import is_bad
from inhouse.interactions.record import InteractionRecord, Status

CHAT_TIMEOUT_S: Final = 600.0
T = TypeVar("T")
_TASK: Final = ReferenceKind.TASK
_ANSWERED: Final = Status.ANSWERED


class _Turn(msgspec.Struct):
    """One chat under way: its question as it came, its trace, and the models that may answer it."""

    call: ChatCall
    json: Question
    trace: Trace
    chain: Chain
    references: tuple[str, ...]
    timeout_s: float
    try_timeout_s: float | None
    plan: Plan | None

    def question_for(self, backend: Backend) -> Question:
        """The question as the backend reads it."""
        takes_json = getattr(backend, "takes_json", False)
        return self.json if takes_json else spelt_out(self.call.body, self.json.task)


class Chats:
    """Answers chats, whole or token by token. ``timeout_s`` is the deadline of a chat with one
    model; that of a task's chat is the task's."""

    def __init__(self, gateway: Gateway, *, timeout_s: float = CHAT_TIMEOUT_S) -> None:
        self._gateway = gateway
        self._ledger = gateway.ledger
        self._timeout_s = timeout_s

    async def answer(self, call: ChatCall) -> ChatOutcome:
        """The whole answer to a chat, recorded like any call.

        Raises Invalid (no chat, or not a model's reference), Exhausted, Unavailable (codes
        ``record-failed``, ``no-backend``), and for a chat with one model what its backend raises,
        BackendError with code ``timeout`` included.
        """
        turn = await self._open(call)

        async def ask(reference: str) -> tuple[Backend, Reply]:
            backend = await self._gateway.backend(reference)
            reply = await backend.answer(turn.question_for(backend))
            turn.trace.note_usage(backend, usage_of_chat(call.body, reply))
            return backend, reply

        try:
            backend, reply = await self._walk(turn, ask)
        except _Flagged as flagged:
            self._copy(turn, bad=True)
            return _outcome(turn, flagged.record, self._stand_in(turn))
        except InhouseError:
            self._copy(turn, bad=True)
            raise
        record = await self._close(turn, backend, reply)
        self._copy(turn, bad=is_bad(record))
        return _outcome(turn, record, reply.raw or self._completion(turn, backend, reply))

    def _copy(self, turn: _Turn, *, bad: bool) -> None:
        shadows, plan = self._gateway.shadows, turn.plan
        if shadows is None or plan is None or not shadows.targets:
            return

        async def ask(reference: str, copy: Trace) -> Copied:
            backend = await self._gateway.open_backend(reference)
            reply = await backend.answer(turn.question_for(backend))
            copy.note_usage(backend, usage_of_chat(turn.call.body, reply))
            return Copied(recorded_reply(reply), backend.hosting)

        shadows.copy(plan.spec, turn.trace, ask, bad=bad)

    async def stream(self, call: ChatCall) -> ChatStream:
        """The answer to a chat as it comes. Returns once the first token is there; until then the
        chain falls back and errors are raised as by ``answer``."""
        turn = await self._open(call)

        async def ask(reference: str) -> tuple[Backend, ReplyStream]:
            backend = await self._gateway.backend(reference)
            if hasattr(backend, "stream"):
                question = turn.question_for(backend)
                return backend, await cast("Streaming", backend).stream(question)
            reply = await backend.answer(turn.question_for(backend))
            return backend, self._in_one_piece(turn, backend, reply)

        try:
            backend, stream = await self._walk(turn, ask)
        except _Flagged:
            text = self._stand_in_text(turn)
            reply = Reply(content=text)
            return self._streamed(turn, WholeReply(reply, self._events(turn, "", reply)), None)
        return self._streamed(turn, stream, backend)

    def _streamed(self, turn: _Turn, stream: ReplyStream, backend: Backend | None) -> ChatStream:
        async def ended(error: BaseException | None) -> None:
            if backend is None:
                return
            reply = stream.reply()
            turn.trace.note_usage(backend, usage_of_chat(turn.call.body, reply))
            turn.chain.report(backend.reference, error)
            if error is not None:
                self._ledger.close_failed(turn.trace, error)
            else:
                await self._close(turn, backend, reply)

        return ChatStream(
            stream,
            ended,
            interaction_id=turn.call.interaction_id,
            model_version="" if backend is None else backend.reference,
            arm=turn.trace.arm,
            warnings=turn.trace.warnings,
        )

    async def _open(self, call: ChatCall) -> _Turn:
        reference = parse_reference(call.reference)
        plan = None
        if reference.kind is _TASK:
            plan = self._gateway.plan(call, reference.name)
        else:
            check_model(call.reference)
        question = passed_on(call.body, None if plan is None else plan.spec)
        recorded = call.body.recorded()
        warnings = await self._ledger.admit(call)
        if plan is not None:
            trace = self._gateway.open(call, recorded, plan, warnings=warnings)
            spec = plan.spec
            references, limits = plan.chosen.chain, (spec.timeout_s, spec.try_timeout_s)
        else:
            unit = self._ledger.unit(call)
            trace = self._ledger.open(call, recorded, arm=Arm.PINNED, unit=unit, warnings=warnings)
            references, limits = (call.reference,), (self._timeout_s, None)
        return _Turn(call, question, trace, self._gateway.chain(trace), references, *limits, plan)

    async def _walk(self, turn: _Turn, ask: Callable[[str], Awaitable[T]]) -> T:
        try:
            return await turn.chain.walk(turn.references, ask, turn.timeout_s, turn.try_timeout_s)
        except AllFailed as failed:
            if turn.plan is not None:
                raise _Flagged(
                    await self._gateway.unanswered(turn.plan, turn.trace, failed)
                ) from None
            self._ledger.close_failed(turn.trace, failed.last)
            raise failed.last from None
        except BaseException as error:
            self._ledger.close_failed(turn.trace, error)
            raise

    async def _close(self, turn: _Turn, backend: Backend, reply: Reply) -> InteractionRecord:
        plan = turn.plan
        return await self._ledger.close(
            turn.trace,
            _ANSWERED,
            output=recorded_reply(reply),
            reference=backend.reference,
            hosting=backend.hosting,
            rescued=plan is not None and backend.reference != plan.chosen.reference,
        )

    def _completion(self, turn: _Turn, backend: Backend, reply: Reply) -> bytes:
        if reply.body is not None:
            return msgspec.json.encode(reply.body)
        call, at = turn.call, turn.trace.created_at
        return completion_of(reply.content, backend.reference, call.interaction_id, at, reply.usage)

    def _in_one_piece(self, turn: _Turn, backend: Backend, reply: Reply) -> ReplyStream:
        return WholeReply(reply, self._events(turn, backend.reference, reply))

    def _events(self, turn: _Turn, reference: str, reply: Reply) -> list[bytes]:
        call = turn.call
        counts = call.body.wants_usage()
        if reply.body is not None:
            usage = reply.body.get("usage") if counts else None
            return [chunks_of({**reply.body, "usage": usage})]
        at = turn.trace.created_at
        return events_of(
            reply.content, reference, call.interaction_id, at, reply.usage if counts else None
        )

    def _stand_in_text(self, turn: _Turn) -> str:
        value = None if turn.plan is None else turn.plan.spec.on_failure
        return "" if value is None else str(value["text"])

    def _stand_in(self, turn: _Turn) -> bytes:
        call, at = turn.call, turn.trace.created_at
        text = self._stand_in_text(turn)
        return completion_of(text, call.reference, call.interaction_id, at, Usage())


class _Flagged(Exception):
    """Nothing answered, and the task's ``on_failure`` value stands in."""

    def __init__(self, record: InteractionRecord) -> None:
        super().__init__(record.id)
        self.record = record


def _outcome(turn: _Turn, record: InteractionRecord, body: bytes) -> ChatOutcome:
    return ChatOutcome(
        interaction_id=record.id,
        body=body,
        model_version=record.reference or "",
        arm=turn.trace.arm,
        latency_ms=record.latency_ms,
        cost=record.cost,
        warnings=turn.trace.warnings,
    )
