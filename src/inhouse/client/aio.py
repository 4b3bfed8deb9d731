"""The SDK for asyncio: the same calls over a few keep-alive connections of the standard library."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from http.client import HTTPException, parse_headers
from io import BytesIO
from selectors import EVENT_READ, DefaultSelector
from ssl import create_default_context
from types import TracebackType
from typing import Any, NamedTuple

import msgspec

from inhouse.client import calls
from inhouse.client.batch import BatchInput, BatchResponse, BatchResult
from inhouse.client.calls import DEFAULT_URL, Ask
from inhouse.client.control import InteractionPage
from inhouse.client.models import FeedbackResponse, RunResponse

_LONGEST_HEAD = 64 * 1024
_END = b"\r\n\r\n"
_STATUS = re.compile(r"HTTP/1\.([01]) (\d{3}) ?(.*)\Z")

_BROKEN = (OSError, HTTPException, EOFError, ValueError, asyncio.LimitOverrunError)


class _Connection(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def is_quiet(self) -> bool:
        """Whether the server has neither closed it nor said anything unasked."""
        if self.reader.at_eof() or self.writer.is_closing():
            return False
        with DefaultSelector() as selector:
            selector.register(self.writer.get_extra_info("socket").fileno(), EVENT_READ)
            return not selector.select(timeout=0)


class _Answer(NamedTuple):
    status: int
    reason: str
    headers: dict[str, str]
    content: bytes
    keep: bool


class AsyncClient:
    """Calls one Inhouse server; safe for many tasks of one event loop. Use it as an asynchronous
    context manager, or ``close`` it.

    ``url``, ``key``: as of ``client.sync.Client``. ``timeout_s``: for one call from its start to
    its answer, the wait for a connection included. ``connections``: calls at once; more wait. Every
    method raises ApiError, with status 0 when no answer came. Nothing is ever sent twice: whoever
    repeats a call gives both the same ``idempotency_key``, and it is answered and counted once. A
    call that is cancelled is cancelled at the server too.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        connections: int = 16,
    ) -> None:
        parts = calls.split_url(url)
        self._tls = create_default_context() if parts.scheme == "https" else None
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if self._tls else 80)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"host": parts.netloc.rpartition("@")[2]}
        if key:
            self._headers["authorization"] = f"Bearer {key}"
        self._timeout_s = timeout_s
        self._free = asyncio.Semaphore(connections)
        self._idle: list[_Connection] = []

    async def run(
        self,
        task: str,
        input: str,  # noqa: A002
        *,
        unit: str | None = None,
        subject: str | None = None,
        tags: Mapping[str, str] | None = None,
        model: str | None = None,
        idempotency_key: str | None = None,
    ) -> RunResponse:
        """Ask a task. The fields are those of ``RunRequest``."""
        ask = calls.run(
            task,
            input,
            unit=unit,
            subject=subject,
            tags=tags,
            model=model,
            idempotency_key=idempotency_key,
        )
        return msgspec.json.decode(await self._answer(ask), type=RunResponse)

    async def run_batch(
        self, task: str, inputs: Sequence[str | BatchInput], *, model: str | None = None
    ) -> list[BatchResult]:
        """Ask a task for 1 to 1,000 inputs; one result for each, in their order. An input that
        fails has ``error`` in its result; ApiError is raised when the batch itself is refused."""
        body = await self._answer(calls.run_batch(task, inputs, model=model))
        return msgspec.json.decode(body, type=BatchResponse).results

    async def feedback(
        self,
        interaction_id: str,
        kind: str,
        value: Any,
        *,
        author: str | None = None,
        idempotency_key: str | None = None,
    ) -> FeedbackResponse:
        """Say something about an interaction: a correction, rating, outcome or comment."""
        ask = calls.feedback(
            interaction_id, kind, value, author=author, idempotency_key=idempotency_key
        )
        return msgspec.json.decode(await self._answer(ask), type=FeedbackResponse)

    async def interactions(
        self,
        *,
        task: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        before: str | None = None,
        limit: int = 50,
    ) -> InteractionPage:
        """One page of recorded calls, newest first. ``before``: the ``next`` of the page before."""
        ask = calls.interactions(task=task, status=status, since=since, before=before, limit=limit)
        return InteractionPage.model_validate_json(await self._answer(ask))

    async def close(self) -> None:
        """Close the connections that no call uses. A later call opens its own."""
        while self._idle:
            await _close(self._idle.pop())

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _answer(self, ask: Ask) -> bytes:
        try:
            async with asyncio.timeout(self._timeout_s), self._free:
                answer = await self._exchange(ask)
        except TimeoutError as error:
            raise calls.unreachable(self._where, TimeoutError("timed out")) from error
        except _BROKEN as error:
            raise calls.unreachable(self._where, error) from error
        if answer.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise calls.refusal(answer.status, answer.reason, answer.headers, answer.content)
        return answer.content

    async def _exchange(self, ask: Ask) -> _Answer:
        connection = await self._connection()
        try:
            connection.writer.write(self._encode(ask))
            answer = await _read(connection.reader)
        except BaseException:
            connection.writer.transport.abort()
            raise
        if answer.keep:
            self._idle.append(connection)
        else:
            await _close(connection)
        return answer

    async def _connection(self) -> _Connection:
        while self._idle:
            kept = self._idle.pop()
            if kept.is_quiet:
                return kept
            kept.writer.transport.abort()
        return _Connection(
            *await asyncio.open_connection(
                self._host, self._port, ssl=self._tls, limit=_LONGEST_HEAD
            )
        )

    def _encode(self, ask: Ask) -> bytes:
        body = ask.body or b""
        headers = {**self._headers, **ask.headers, "content-length": str(len(body))}
        lines = [f"{ask.method} {self._prefix}{ask.path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a key or a header holds a line break")
        return "\r\n".join(lines).encode("latin-1") + _END + body

    @property
    def _where(self) -> str:
        return f"{self._host}:{self._port}"


async def _close(connection: _Connection) -> None:
    connection.writer.close()
    try:
        await connection.writer.wait_closed()
    except OSError:
        return


async def _read(reader: asyncio.StreamReader) -> _Answer:
    """One answer; interim ones (1xx) are passed over."""
    first, headers = await _read_head(reader)
    while first[2].startswith("1"):
        first, headers = await _read_head(reader)
    keep = first[1] == "1" and headers.get("connection", "").lower() != "close"
    if "chunked" in headers.get("transfer-encoding", "").lower():
        content = await _read_chunks(reader)
    elif "content-length" in headers:
        content = await reader.readexactly(int(headers["content-length"]))
    else:
        content, keep = await reader.read(), False
    return _Answer(int(first[2]), first[3], headers, content, keep)


async def _read_head(reader: asyncio.StreamReader) -> tuple[re.Match[str], dict[str, str]]:
    first, _, rest = (await reader.readuntil(_END)).partition(b"\r\n")
    found = _STATUS.match(first.decode("latin-1"))
    if found is None:
        raise HTTPException(f"{first[:80]!r} is no HTTP")
    return found, {name.lower(): value for name, value in parse_headers(BytesIO(rest)).items()}


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while (await reader.readuntil(b"\r\n")) != b"\r\n":
        continue
    return b"".join(parts)
