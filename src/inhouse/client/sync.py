"""The SDK: a small typed client over one keep-alive connection of the standard library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import Any

import msgspec

from inhouse.client import calls
from inhouse.client.batch import BatchInput, BatchResponse, BatchResult
from inhouse.client.calls import DEFAULT_URL, Ask
from inhouse.client.control import InteractionPage
from inhouse.client.models import FeedbackResponse, RunResponse


class Client:
    """Calls one Inhouse server. Use it as a context manager, or ``close`` it.

    ``url``: scheme, host, port and an optional path prefix. ``key``: as ``inhouse keys create``
    showed it; none for an open server on this machine. ``timeout_s``: for connecting and for every
    read. A client serves one thread at a time; give each thread its own. Every method raises
    ApiError, with status 0 when no answer came. Nothing is ever sent twice: whoever repeats a call
    gives both the same ``idempotency_key``, and it is answered and counted once.
    """

    def __init__(
        self, url: str = DEFAULT_URL, *, key: str | None = None, timeout_s: float = 60.0
    ) -> None:
        parts = calls.split_url(url)
        make = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._connection = make(parts.hostname or "", parts.port, timeout=timeout_s)
        self._prefix = parts.path.rstrip("/")
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def run(
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
        return msgspec.json.decode(self._answer(ask), type=RunResponse)

    def run_batch(
        self, task: str, inputs: Sequence[str | BatchInput], *, model: str | None = None
    ) -> list[BatchResult]:
        """Ask a task for 1 to 1,000 inputs; one result for each, in their order. An input that
        fails has ``error`` in its result; ApiError is raised when the batch itself is refused."""
        body = self._answer(calls.run_batch(task, inputs, model=model))
        return msgspec.json.decode(body, type=BatchResponse).results

    def feedback(
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
        return msgspec.json.decode(self._answer(ask), type=FeedbackResponse)

    def interactions(
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
        return InteractionPage.model_validate_json(self._answer(ask))

    def close(self) -> None:
        """Close the connection. A later call opens it again."""
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _answer(self, ask: Ask) -> bytes:
        self._drop_closed()
        headers = {**self._headers, **ask.headers}
        try:
            self._connection.request(ask.method, self._prefix + ask.path, ask.body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            where = f"{self._connection.host}:{self._connection.port}"
            raise calls.unreachable(where, error) from error
        if response.status >= 300:
            named = {name.lower(): value for name, value in response.getheaders()}
            raise calls.refusal(response.status, response.reason, named, content)
        return content

    def _drop_closed(self) -> None:
        """Close a kept connection that the server has closed meanwhile: there is something to read
        on it, the end. The next request opens a new one."""
        if self._connection.sock is None:
            return
        with DefaultSelector() as selector:
            selector.register(self._connection.sock, EVENT_READ)
            if selector.select(timeout=0):
                self.close()
