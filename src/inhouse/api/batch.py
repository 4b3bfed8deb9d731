"""Many inputs of one task in one request."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import msgspec

from inhouse.api.auth import Access, Principal
from inhouse.api.body import Receive, Scope, convert, header, parse, read_body
from inhouse.api.hangup import unless_gone
from inhouse.api.problems import BadRequest, render, unexpected
from inhouse.api.respond import Response
from inhouse.client.batch import MOST_INPUTS, BatchInput, BatchResponse, BatchResult
from inhouse.client.models import Key, Problem, RunRequest, RunResponse
from inhouse.core.errors import InhouseError
from inhouse.gateway.keys import Permission

AT_ONCE: Final = 16
RunOne = Callable[[str, RunRequest, Principal, Scope], Awaitable[RunResponse]]
"""Answers one input, and notes the interaction that it becomes in the scope that it is given."""


class _Envelope(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A ``BatchRequest`` whose inputs are not looked at yet: each one is judged by itself."""

    inputs: Annotated[list[Any], msgspec.Meta(min_length=1, max_length=MOST_INPUTS)]
    model: Key | None = None


_decoder = msgspec.json.Decoder(_Envelope)
_encode = msgspec.json.Encoder().encode


class Batch:
    """The handler of ``POST /v1/tasks/{task}/run-batch``. ``limit`` tells the longest body that is
    read, in bytes."""

    def __init__(self, access: Access, run: RunOne, *, limit: Callable[[], int]) -> None:
        self._access = access
        self._run = run
        self._limit = limit

    async def run(self, task: str, scope: Scope, receive: Receive) -> Response:
        """One result for each input, in their order; 200 whenever the batch itself can be read.
        A client that hangs up takes all of its calls along."""
        who = self._access.require(scope, Permission.CALL)
        if header(scope, b"idempotency-key") is not None:
            raise BadRequest(
                "a batch takes no Idempotency-Key",
                field="idempotency-key",
                code="idempotency-unsupported",
                hint="leave it out, or send the inputs one by one, each with a key of its own",
            )
        batch = parse(_decoder, await read_body(scope, receive, self._limit()))
        answer = await unless_gone(scope, self._answer(task, batch, who, scope))
        body = _encode(answer)
        return Response(
            200,
            [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))],
            body,
        )

    async def _answer(
        self, task: str, batch: _Envelope, who: Principal, scope: Scope
    ) -> BatchResponse:
        results: list[BatchResult] = [BatchResult()] * len(batch.inputs)
        waiting = iter(enumerate(batch.inputs))

        async def work() -> None:
            for position, raw in waiting:
                results[position] = await self._one(task, raw, batch.model, who, scope)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(AT_ONCE, len(results))):
                group.create_task(work())
        return BatchResponse(results=results)

    async def _one(
        self, task: str, raw: Any, model: str | None, who: Principal, scope: Scope
    ) -> BatchResult:
        alone = dict(scope)
        try:
            one = convert(raw, BatchInput)
            request = RunRequest(
                input=one.input, unit=one.unit, subject=one.subject, tags=one.tags, model=model
            )
            return BatchResult(ok=await self._run(task, request, who, alone))
        except InhouseError as error:
            return _refused(error, alone)
        except Exception as error:  # noqa: BLE001 an input is judged by itself
            return _refused(unexpected(error, alone), alone)


def _refused(error: InhouseError, alone: Scope) -> BatchResult:
    """What the error would have said to a request of that one input."""
    _, headers, body = render(error, alone)
    named = dict(headers)
    wait, call = named.get(b"retry-after"), named.get(b"x-inhouse-interaction-id")
    return BatchResult(
        error=msgspec.json.decode(body, type=Problem),
        interaction_id=None if call is None else call.decode(),
        retry_after=None if wait is None else int(wait),
    )
