"""The calls of the SDK without a socket: what is sent, and what an answer means. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from inhouse.client.batch import BatchInput, BatchRequest
from inhouse.client.errors import ApiError
from inhouse.client.models import FeedbackRequest, Problem, RunRequest

DEFAULT_URL = "http://127.0.0.1:8040"
_JSON = {"content-type": "application/json"}


@dataclass(frozen=True, slots=True)
class Ask:
    """One request. ``path`` has its query; ``headers`` are those of this call only."""

    method: str
    path: str
    body: bytes | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


def split_url(url: str) -> SplitResult:
    """The parts of a server's URL. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{url!r} is not an http(s) URL")
    return parts


def run(
    task: str,
    text: str,
    *,
    unit: str | None,
    subject: str | None,
    tags: Mapping[str, str] | None,
    model: str | None,
    idempotency_key: str | None,
) -> Ask:
    """A call of a task."""
    request = RunRequest(
        input=text,
        unit=unit,
        subject=subject,
        tags=None if tags is None else dict(tags),
        model=model,
    )
    return _post(f"/v1/tasks/{quote(task, safe='')}/run", request, idempotency_key)


def run_batch(task: str, inputs: Sequence[str | BatchInput], *, model: str | None) -> Ask:
    """Many calls of a task."""
    items = [BatchInput(input=one) if isinstance(one, str) else one for one in inputs]
    request = BatchRequest(inputs=items, model=model)
    return _post(f"/v1/tasks/{quote(task, safe='')}/run-batch", request, None)


def feedback(
    interaction_id: str, kind: str, value: Any, *, author: str | None, idempotency_key: str | None
) -> Ask:
    """A statement about an interaction."""
    request = FeedbackRequest(interaction_id=interaction_id, kind=kind, value=value, author=author)
    return _post("/v1/feedback", request, idempotency_key)


def interactions(
    *,
    task: str | None,
    status: str | None,
    since: datetime | None,
    before: str | None,
    limit: int,
) -> Ask:
    """A page of recorded calls."""
    wanted = {
        "task": task,
        "status": status,
        "since": None if since is None else since.isoformat(),
        "before": before,
        "limit": limit,
    }
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    return Ask("GET", f"/v1/interactions?{query}")


def unreachable(where: str, error: Exception) -> ApiError:
    """The error of a call that got no answer from ``where``."""
    return ApiError(
        f"no answer from {where}: {str(error) or type(error).__name__}",
        status=0,
        code="unreachable",
        hint="is `inhouse serve` running there?",
    )


def refusal(status: int, reason: str, headers: Mapping[str, str], content: bytes) -> ApiError:
    """The error that an answer stands for. ``headers``: with lower-case names."""
    try:
        problem = msgspec.json.decode(content, type=Problem)
    except msgspec.DecodeError:
        problem = Problem(
            type="about:blank",
            title=reason,
            status=status,
            detail=f"HTTP {status} {reason}",
            code="not-inhouse",
            hint="the answer is not Inhouse's; is a proxy in between?",
        )
    wait = headers.get("retry-after", "")
    return ApiError(
        problem.detail,
        status=status,
        code=problem.code,
        hint=problem.hint,
        retry_after=float(wait) if wait.isdigit() else None,
        interaction_id=headers.get("x-inhouse-interaction-id"),
    )


def _post(path: str, request: msgspec.Struct, idempotency_key: str | None) -> Ask:
    headers = dict(_JSON)
    if idempotency_key is not None:
        headers["idempotency-key"] = idempotency_key
    return Ask("POST", path, msgspec.json.encode(request), headers)
