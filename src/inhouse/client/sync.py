"""The SDK: a small typed client over one keep-alive connection of the standard library."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from selectors import EVENT_READ, DefaultSelector
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from inhouse.client.control import InteractionPage
from inhouse.client.errors import ApiError
from inhouse.client.models import (
    FeedbackRequest,
    FeedbackResponse,
    Problem,
    RunRequest,
    RunResponse,
)

DEFAULT_URL = "http://127.0.0.1:8040"


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
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not an http(s) URL")
        secure = parts.scheme == "https"
        make = HTTPSConnection if secure else HTTPConnection
        self._connection = make(parts.hostname, parts.port, timeout=timeout_s)
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
        request = RunRequest(
            input=input,
            unit=unit,
            subject=subject,
            tags=None if tags is None else dict(tags),
            model=model,
        )
        body = self._post(f"/v1/tasks/{quote(task, safe='')}/run", request, idempotency_key)
        return msgspec.json.decode(body, type=RunResponse)

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
        request = FeedbackRequest(
            interaction_id=interaction_id, kind=kind, value=value, author=author
        )
        body = self._post("/v1/feedback", request, idempotency_key)
        return msgspec.json.decode(body, type=FeedbackResponse)

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
        wanted = {
            "task": task,
            "status": status,
            "since": None if since is None else since.isoformat(),
            "before": before,
            "limit": limit,
        }
        query = urlencode({name: value for name, value in wanted.items() if value is not None})
        body = self._ask("GET", f"/v1/interactions?{query}", None, {})
        return InteractionPage.model_validate_json(body)

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

    def _post(self, path: str, request: msgspec.Struct, idempotency_key: str | None) -> bytes:
        headers = {"content-type": "application/json"}
        if idempotency_key is not None:
            headers["idempotency-key"] = idempotency_key
        return self._ask("POST", path, msgspec.json.encode(request), headers)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> bytes:
        self._drop_closed()
        try:
            self._connection.request(
                method, self._prefix + path, body, {**self._headers, **headers}
            )
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, HTTPException) as error:
            self.close()
            raise self._unreachable(error) from error
        if response.status >= 300:
            raise _refusal(response, content)
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

    def _unreachable(self, error: Exception) -> ApiError:
        where = f"{self._connection.host}:{self._connection.port}"
        return ApiError(
            f"no answer from {where}: {str(error) or type(error).__name__}",
            status=0,
            code="unreachable",
            hint="is `inhouse serve` running there?",
        )


def _refusal(response: HTTPResponse, content: bytes) -> ApiError:
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(
            type="about:blank",
            title=response.reason,
            status=response.status,
            detail=f"HTTP {response.status} {response.reason}",
            code="not-inhouse",
            hint="the answer is not Inhouse's; is a proxy in between?",
        )
    wait = response.headers.get("retry-after", "")
    return ApiError(
        problem.detail,
        status=response.status,
        code=problem.code,
        hint=problem.hint,
        retry_after=float(wait) if wait.isdigit() else None,
        interaction_id=response.headers.get("x-inhouse-interaction-id"),
    )
