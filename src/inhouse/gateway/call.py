"""One call from its input to its recorded answer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from inhouse.core.clock import Clock
from inhouse.core.errors import Exhausted, InhouseError, Invalid, NotFound, Unavailable
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.gateway.answer import Answer, ask_task
from inhouse.gateway.breakers import Breakers
from inhouse.gateway.coalesce import Coalescing
from inhouse.gateway.entry import Call, Caller, Direct, DirectCall, Outcome
from inhouse.gateway.fallback import AllFailed, Chain
from inhouse.gateway.ledger import Ledger
from inhouse.gateway.opening import Opening
from inhouse.gateway.route import Arm, Assignment, assign
from inhouse.gateway.shadow import Copied, Shadows
from inhouse.gateway.table import RouteTable
from inhouse.gateway.trace import Trace
from inhouse.inference.base import Backend, Message, Question, Usage
from inhouse.interactions.outcomes import is_bad
from inhouse.interactions.record import InteractionRecord, Status
from inhouse.registry.routes import Route
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.prompts import fit, render
from inhouse.tasks.spec import TaskSpec

T = TypeVar("T")
_UPSTREAM: Final = ReferenceKind.UPSTREAM


class Plan(NamedTuple):
    """Who is to answer one call of a task."""

    spec: TaskSpec
    route: Route
    unit: str
    chosen: Assignment


class Gateway:
    """Answers calls of tasks, and direct calls of models. Safe for many tasks of one event loop.

    ``resolve`` turns a reference into a backend and raises NotFound or Unavailable. ``forced`` is
    ``settings.force``. ``jitter`` draws from [0, 1). ``shadows`` copies calls for candidates in
    shadow; without it nothing is copied. Chats are ``gateway.chats``, which builds on
    ``plan``, ``open``, ``chain`` and ``unanswered``.
    """

    def __init__(
        self,
        *,
        catalog: Catalog,
        routes: RouteTable,
        resolve: Callable[[str], Backend],
        ledger: Ledger,
        breakers: Breakers,
        clock: Clock,
        forced: Mapping[str, str],
        jitter: Callable[[], float],
        shadows: Shadows | None = None,
    ) -> None:
        self._catalog = catalog
        self._routes = routes
        self._resolve = resolve
        self._opening = Opening(resolve)
        self._opened: set[str] = set()
        self.ledger = ledger
        self._breakers = breakers
        self._clock = clock
        self._forced = forced
        self._jitter = jitter
        self._coalescing = Coalescing[Outcome]()
        self.shadows = shadows

    def configure(self, *, forced: Mapping[str, str]) -> None:
        """Take over changed settings."""
        self._forced = forced

    async def run(self, call: Call) -> Outcome:
        """Answer one call of a task.

        Once a backend is asked, the call is recorded, however it ends. Raises NotFound (code
        ``task-not-found``), Invalid (the input or ``model`` does not fit), Exhausted (a limit is
        used up), Unavailable (code ``no-backend``: every model of the chain failed and the task has
        no ``on_failure`` value; code ``record-failed``: the call cannot be recorded), or the
        BackendError of an upstream that says that the request itself is at fault.
        """
        plan = self.plan(call, call.task, pinned=call.model)
        text = fit(plan.spec, call.text)
        if not plan.spec.coalesce:
            return await self._run(call, plan, text)
        tags = None if call.tags is None else tuple(sorted(call.tags.items()))
        key = (plan.spec.revision, plan.chosen, text, call.task, call.key, call.subject, tags)
        return await self._coalescing.run(key, lambda: self._run_for_all(call, plan, text))

    async def _run_for_all(self, call: Call, plan: Plan, text: str) -> Outcome:
        """The same for identical calls: an error names the one that is recorded."""
        try:
            return await self._run(call, plan, text)
        except InhouseError as error:
            error.interaction_id = call.interaction_id
            raise

    async def _run(self, call: Call, plan: Plan, text: str) -> Outcome:
        spec = plan.spec
        messages = (Message("user", render(spec, text) if spec.prompt else text),)
        question = Question(task=spec, text=text, messages=messages)
        trace = self.open(call, text, plan, warnings=await self.ledger.admit(call))

        async def ask(reference: str) -> Answer:
            backend = await self.backend(reference)
            return await ask_task(backend, reference, spec, question, trace)

        try:
            answer = await self.walk(plan, trace, ask)
        except AllFailed as failed:
            self._copy(spec, trace, question, bad=True)
            return _outcome(await self.unanswered(plan, trace, failed), trace)
        except BaseException as error:
            self.ledger.close_failed(trace, error)
            raise
        record = await self.ledger.close(
            trace,
            Status.ANSWERED,
            output=answer.output,
            probabilities=answer.probabilities,
            reference=answer.reference,
            hosting=answer.backend.hosting,
            rescued=answer.reference != plan.chosen.reference,
        )
        self._copy(spec, trace, question, bad=is_bad(record))
        return _outcome(record, trace)

    def _copy(self, spec: TaskSpec, trace: Trace, question: Question, *, bad: bool) -> None:
        if self.shadows is None or not self.shadows.targets:
            return

        async def ask(reference: str, copy: Trace) -> Copied:
            backend = await self.open_backend(reference)
            answer = await ask_task(backend, reference, spec, question, copy)
            return Copied(answer.output, backend.hosting, answer.probabilities)

        self.shadows.copy(spec, trace, ask, bad=bad)

    async def direct(
        self,
        call: DirectCall,
        ask: Callable[[Backend, Trace], Awaitable[T]],
        output: Callable[[T], Any],
    ) -> Direct[T]:
        """Ask one model something that is no task, and record it.

        ``ask`` asks the backend and tells the trace by ``note_usage`` what that used; ``output``
        gives what is recorded of the answer. Raises what ``ask`` raises, BackendError with code
        ``timeout``, Exhausted, and Unavailable (code ``record-failed``).
        """
        check_model(call.reference)
        warnings = await self.ledger.admit(call)
        unit = self.ledger.unit(call)
        trace = self.ledger.open(call, call.input, arm=Arm.PINNED, unit=unit, warnings=warnings)

        async def once(reference: str) -> tuple[Backend, T]:
            backend = await self.backend(reference)
            return backend, await ask(backend, trace)

        try:
            chain = self.chain(trace)
            backend, value = await chain.walk((call.reference,), once, call.timeout_s)
        except AllFailed as failed:
            self.ledger.close_failed(trace, failed.last)
            raise failed.last from None
        except BaseException as error:
            self.ledger.close_failed(trace, error)
            raise
        record = await self.ledger.close(
            trace,
            Status.ANSWERED,
            output=output(value),
            reference=call.reference,
            hosting=backend.hosting,
        )
        return Direct(
            value=value,
            interaction_id=record.id,
            model_version=call.reference,
            arm=trace.arm,
            latency_ms=record.latency_ms,
            cost=record.cost,
            warnings=warnings,
        )

    def plan(self, caller: Caller, task: str, *, pinned: str | None = None) -> Plan:
        """Who is to answer. Raises NotFound, and Invalid for a ``pinned`` that cannot."""
        spec = self._catalog.get(task)
        if pinned is not None:
            _check_pin(spec, pinned)
        route = self._routes.get(task)
        unit = self.ledger.unit(caller)
        chosen = assign(route, unit, forced=self._forced.get(task), pinned=pinned)
        return Plan(spec, route, unit, chosen)

    def open(
        self, caller: Caller, recorded: Any, plan: Plan, *, warnings: tuple[str, ...]
    ) -> Trace:
        """The trace of a task's call."""
        arm = plan.chosen.arm
        trace = self.ledger.open(caller, recorded, arm=arm, unit=plan.unit, warnings=warnings)
        trace.task, trace.task_revision = plan.spec.name, plan.spec.revision
        trace.route_revision, trace.weight_bp = plan.route.revision, plan.route.weight_bp
        return trace

    async def backend(self, reference: str) -> Backend:
        """The backend of a reference, if its upstream may be asked now. One whose files have to be
        read is opened beside the event loop."""
        self.ledger.admit_try(reference)
        return await self.open_backend(reference)

    async def open_backend(self, reference: str) -> Backend:
        """The same, whatever limits its upstream has."""
        if reference not in self._opened and parse_reference(reference).kind is not _UPSTREAM:
            await asyncio.wrap_future(self._opening.begin(reference))
            self._opened.add(reference)
        return self._resolve(reference)

    def chain(self, trace: Trace) -> Chain:
        """The chain of one call."""
        return Chain(
            clock=self._clock,
            jitter=self._jitter,
            breakers=self._breakers,
            attempts=trace.attempts,
        )

    async def walk(self, plan: Plan, trace: Trace, ask: Callable[[str], Awaitable[T]]) -> T:
        """The first answer of a task's chain. Raises AllFailed."""
        spec = plan.spec
        chain = self.chain(trace)
        return await chain.walk(plan.chosen.chain, ask, spec.timeout_s, spec.try_timeout_s)

    async def unanswered(self, plan: Plan, trace: Trace, failed: AllFailed) -> InteractionRecord:
        """The flagged value that the task declares, or the error; recorded either way. A caller who
        wishes for a model that does not exist learns just that."""
        spec, last = plan.spec, failed.last
        not_there = plan.chosen.arm is Arm.PINNED and isinstance(last, NotFound)
        error: InhouseError = last
        if not (failed.fatal or not_there or isinstance(last, Exhausted)):
            error = _no_backend(spec, trace, last)
        if spec.on_failure is None or not_there:
            self.ledger.close_failed(trace, error)
            raise error from None
        return await self.ledger.close(
            trace, Status.FLAGGED, error_code=error.code, output=spec.on_failure
        )


def check_model(reference: str) -> None:
    """Raise Invalid unless the reference names one general model."""
    kind = parse_reference(reference).kind
    if kind not in _GENERAL:
        raise Invalid(
            f"{reference} is not one model",
            code="reference",
            hint="name <upstream>/<model> or embedded/<base>",
        )


_GENERAL: Final = (_UPSTREAM, ReferenceKind.EMBEDDED)


def _outcome(record: InteractionRecord, trace: Trace) -> Outcome:
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
        warnings=trace.warnings,
    )


def _no_backend(spec: TaskSpec, trace: Trace, last: InhouseError) -> Unavailable:
    tries = ", ".join(f"{one['reference']}: {one['code']}" for one in trace.attempts)
    return Unavailable(
        f"no model answered task {spec.name} ({tries or 'its chain is empty'})",
        code="no-backend",
        hint=last.hint or "see this task's chain; on_failure can give a flagged value instead",
        retry_after=getattr(last, "retry_after", None) or 1.0,
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
