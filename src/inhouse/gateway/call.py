"""One call from its input to its recorded answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from inhouse.core.clock import Clock
from inhouse.core.errors import Invalid, NotFound, Unavailable
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.gateway.answer import Answer, ask_task
from inhouse.gateway.chat import (
    check_direct,
    completion_of,
    content_of,
    question_of,
    recorded_messages,
)
from inhouse.gateway.entry import Call, ChatCall, ChatOutcome, Outcome
from inhouse.gateway.fallback import AllFailed, Chain, code_of
from inhouse.gateway.route import Arm, assign
from inhouse.gateway.table import RouteTable
from inhouse.gateway.trace import Trace
from inhouse.inference.base import Backend, Message, Question, Reply, Usage
from inhouse.interactions.pseudonym import pseudonym
from inhouse.interactions.record import InteractionRecord, Recorder, Status
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.prompts import fit, render
from inhouse.tasks.spec import TaskSpec

CHAT_TIMEOUT_S: Final = 600.0


class Gateway:
    """Answers calls. Safe for many tasks of one event loop.

    ``resolve`` turns a reference into a backend and raises NotFound or Unavailable. ``salt`` keys
    the hashes of units and subjects. ``forced`` is ``settings.force``. ``jitter`` draws from
    [0, 1). ``chat_timeout_s`` is the deadline of a free chat.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        routes: RouteTable,
        resolve: Callable[[str], Backend],
        recorder: Recorder,
        clock: Clock,
        salt: bytes,
        forced: Mapping[str, str],
        jitter: Callable[[], float],
        chat_timeout_s: float = CHAT_TIMEOUT_S,
    ) -> None:
        self._catalog = catalog
        self._routes = routes
        self._resolve = resolve
        self._recorder = recorder
        self._clock = clock
        self._salt = salt
        self._forced = forced
        self._jitter = jitter
        self._chat_timeout_s = chat_timeout_s

    async def run(self, call: Call) -> Outcome:
        """Answer one call of a task.

        Once a backend is asked, the call is recorded, however it ends. Raises NotFound (code
        ``task-not-found``), Invalid (the input or ``model`` does not fit), Unavailable (code
        ``no-backend``: every model of the chain failed and the task has no ``on_failure`` value;
        code ``record-failed``: the call cannot be recorded), or the BackendError of an upstream
        that says that the request itself is at fault.
        """
        spec = self._catalog.get(call.task)
        if call.model is not None:
            _check_pin(spec, call.model)
        text = fit(spec, call.text)
        question = Question(task=spec, text=text, messages=(Message("user", render(spec, text)),))
        route = self._routes.get(spec.name)
        unit = pseudonym(self._salt, call.unit or call.interaction_id)
        chosen = assign(route, unit, forced=self._forced.get(spec.name), pinned=call.model)
        self._recorder.admit()
        trace = self._trace(call, text, chosen.arm, unit)
        trace.task, trace.task_revision = spec.name, spec.revision
        trace.route_revision, trace.weight_bp = route.revision, route.weight_bp

        async def ask(reference: str) -> Answer:
            return await ask_task(self._resolve(reference), reference, spec, question, trace)

        try:
            answer = await self._chain(trace).walk(chosen.chain, ask, spec.timeout_s)
        except AllFailed as failed:
            return self._unanswered(spec, trace, failed, by_wish=call.model is not None)
        except BaseException as error:
            self._record_failure(trace, error)
            raise
        return self._answered(trace, answer, rescued=answer.reference != chosen.reference)

    async def chat(self, chat: ChatCall) -> ChatOutcome:
        """Pass a free chat to one model. Recorded like any call, without a task.

        Raises Invalid (no chat, or not a model's reference), Unavailable (code ``record-failed``),
        and what the backend raises, BackendError with code ``timeout`` included.
        """
        reference = chat.reference
        check_direct(reference)
        question = question_of(chat.body)
        self._recorder.admit()
        unit = pseudonym(self._salt, chat.unit or chat.interaction_id)
        trace = self._trace(chat, recorded_messages(chat.body["messages"]), Arm.PINNED, unit)

        async def ask(reference: str) -> tuple[Backend, Reply]:
            backend = self._resolve(reference)
            reply = await backend.answer(question)
            trace.note(backend, reply)
            return backend, reply

        try:
            backend, reply = await self._chain(trace).walk((reference,), ask, self._chat_timeout_s)
        except AllFailed as failed:
            self._record_failure(trace, failed.last)
            raise failed.last from None
        except BaseException as error:
            self._record_failure(trace, error)
            raise
        body = completion_of(reply, reference, chat.interaction_id, trace.created_at)
        record = trace.close(
            Status.ANSWERED,
            self._latency_ms(trace),
            output={"content": content_of(body)},
            reference=reference,
            hosting=backend.hosting,
        )
        self._recorder.put(record)
        return ChatOutcome(
            interaction_id=record.id,
            body=body,
            model_version=reference,
            arm=trace.arm,
            latency_ms=record.latency_ms,
            cost=record.cost,
        )

    def _trace(self, call: Call | ChatCall, recorded: Any, arm: Arm, unit: str) -> Trace:
        return Trace(
            interaction_id=call.interaction_id,
            created_at=self._clock.now(),
            started=self._clock.monotonic(),
            input=recorded,
            arm=arm,
            unit=unit,
            subject=None if call.subject is None else pseudonym(self._salt, call.subject),
            tags=call.tags,
            key_id=call.key_id,
        )

    def _chain(self, trace: Trace) -> Chain:
        return Chain(clock=self._clock, jitter=self._jitter, attempts=trace.attempts)

    def _latency_ms(self, trace: Trace) -> float:
        return round((self._clock.monotonic() - trace.started) * 1e3, 3)

    def _answered(self, trace: Trace, answer: Answer, *, rescued: bool) -> Outcome:
        record = trace.close(
            Status.ANSWERED,
            self._latency_ms(trace),
            output=answer.output,
            probabilities=answer.probabilities,
            reference=answer.reference,
            hosting=answer.backend.hosting,
            rescued=rescued,
        )
        self._recorder.put(record)
        return _outcome(record)

    def _unanswered(
        self, spec: TaskSpec, trace: Trace, failed: AllFailed, *, by_wish: bool
    ) -> Outcome:
        """The flagged value that the task declares, or the error; recorded either way. A caller who
        wishes for a model that does not exist learns just that."""
        not_there = by_wish and isinstance(failed.last, NotFound)
        error = failed.last
        if not (failed.fatal or not_there):
            error = _no_backend(spec, trace, failed.last.hint)
        if spec.on_failure is None or not_there:
            self._record_failure(trace, error)
            raise error from None
        record = trace.close(
            Status.FLAGGED,
            self._latency_ms(trace),
            error_code=error.code,
            output=spec.on_failure,
        )
        self._recorder.put(record)
        return _outcome(record)

    def _record_failure(self, trace: Trace, error: BaseException) -> None:
        """Record a call that ends in an error. The caller gets that error in any case, so a full
        queue is only counted."""
        hung_up = isinstance(error, asyncio.CancelledError)
        record = trace.close(
            Status.CANCELLED if hung_up else Status.FAILED,
            self._latency_ms(trace),
            error_code=code_of(error),
        )
        with suppress(Unavailable):
            self._recorder.put(record)


def _outcome(record: InteractionRecord) -> Outcome:
    return Outcome(
        interaction_id=record.id,
        task=record.task or "",
        output=record.output or {},
        probabilities=record.probabilities,
        model_version=record.reference or "",
        arm=record.arm or "",
        flagged=record.status == Status.FLAGGED,
        latency_ms=record.latency_ms,
        cost=record.cost,
        usage=Usage(input_tokens=record.input_tokens, output_tokens=record.output_tokens),
        route_revision=record.route_revision or 0,
    )


def _no_backend(spec: TaskSpec, trace: Trace, hint: str) -> Unavailable:
    tries = ", ".join(f"{one['reference']}: {one['code']}" for one in trace.attempts)
    return Unavailable(
        f"no model answered task {spec.name} ({tries or 'its chain is empty'})",
        code="no-backend",
        hint=hint or "see this task's chain; on_failure can give a flagged value instead",
    )


def _check_pin(spec: TaskSpec, reference: str) -> None:
    """Raise Invalid unless the reference names one model that can answer the task."""
    parsed = parse_reference(reference)
    other = parsed.kind is ReferenceKind.VERSION and parsed.name != spec.name
    if other or parsed.kind is ReferenceKind.TASK:
        raise Invalid(
            f"{reference} cannot answer task {spec.name}",
            code="reference",
            hint=f"name {spec.name}@<n>, <upstream>/<model> or embedded/<base>",
        )
