"""Who is asked by ``task run --file``: the gateway of the project, or a running server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inhouse.api.problems import CALL, render
from inhouse.cli.lines import Line
from inhouse.client.aio import AsyncClient
from inhouse.client.batch import BatchInput
from inhouse.client.errors import ApiError
from inhouse.core.errors import Exhausted, InhouseError
from inhouse.core.ids import new_id
from inhouse.gateway.entry import Call, Outcome

if TYPE_CHECKING:
    from inhouse.bootstrap import App
    from inhouse.client.models import RunResponse

Ask = Callable[["LineInput"], Awaitable[Line]]

_PATIENCE_S = 660.0
_TOO_FAST = 429
_FOR_ALL = frozenset(
    {
        "unreachable",
        "unauthenticated",
        "role",
        "foreign-origin",
        "task-not-found",
        "reference",
        "version-not-found",
        "upstream-not-found",
        "record-failed",
    }
)
"""Codes of errors that every further line would meet as well."""


class LineInput(BatchInput, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line of the input file. ``id``: any value, told back in the line's result."""

    id: Any = None


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to ask. ``concurrency``: calls at once."""

    task: str
    file: Path
    out: Path
    model: str | None
    concurrency: int
    fresh: bool
    retry_failed: bool


@dataclass(frozen=True)
class Server:
    """A server to ask instead of this project."""

    url: str
    key: str | None


class Stopped(InhouseError):
    """The run cannot go on: whatever is asked would end like this."""


class Busy(Exception):
    """Asked too fast: ``retry_after`` seconds later it may work. ``result``: the line's, if not."""

    def __init__(self, retry_after: float, result: Line) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after
        self.result = result


@asynccontextmanager
async def in_project(app: App, plan: Plan) -> AsyncIterator[Ask]:
    """Ask the gateway of this project; recorded like any call."""
    app.start_calls([app.catalog.get(plan.task).name])
    app.poller.start()

    async def ask(line: LineInput) -> Line:
        call = Call(
            interaction_id=new_id(),
            task=plan.task,
            text=line.input,
            unit=line.unit,
            subject=line.subject,
            tags=line.tags,
            model=plan.model,
        )
        try:
            return _answered(await app.gateway.run(call))
        except InhouseError as error:
            status, headers, _ = render(error, {"path": "", CALL: call.interaction_id})
            named = dict(headers)
            recorded = call.interaction_id if b"x-inhouse-interaction-id" in named else None
            wait = named.get(b"retry-after", b"0") if isinstance(error, Exhausted) else b"0"
            return _refused(error, status, recorded, int(wait))

    try:
        yield ask
    finally:
        await app.backends.close()
        app.poller.stop()
        app.recorder.stop()


@asynccontextmanager
async def at_server(server: Server, plan: Plan) -> AsyncIterator[Ask]:
    """Ask a running server."""
    async with AsyncClient(
        server.url, key=server.key, timeout_s=_PATIENCE_S, connections=plan.concurrency
    ) as client:

        async def ask(line: LineInput) -> Line:
            try:
                answer = await client.run(
                    plan.task,
                    line.input,
                    unit=line.unit,
                    subject=line.subject,
                    tags=line.tags,
                    model=plan.model,
                )
            except ApiError as error:
                wait = error.retry_after or 0 if error.status == _TOO_FAST else 0
                return _refused(error, error.status, error.interaction_id, wait)
            return _answered(answer)

        yield ask


def _answered(answer: Outcome | RunResponse) -> Line:
    return {
        "output": answer.output,
        "interaction_id": answer.interaction_id,
        "model_version": answer.model_version,
        "flagged": answer.flagged,
    }


def _refused(
    error: InhouseError | ApiError, status: int, interaction_id: str | None, wait: float
) -> Line:
    """The result of a line that failed. Raises Busy where waiting helps, Stopped where all others
    would fail like it."""
    if error.code in _FOR_ALL:
        raise Stopped(error.message, code=error.code, hint=error.hint) from error
    result: Line = {"error": error_of(error, status)}
    if interaction_id is not None:
        result["interaction_id"] = interaction_id
    if wait:
        raise Busy(wait, result) from error
    return result


def error_of(error: InhouseError | ApiError, status: int) -> Line:
    said = {"code": error.code, "status": status, "message": error.message}
    return said | ({"hint": error.hint} if error.hint else {})
