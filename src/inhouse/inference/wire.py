"""The wire to one upstream: its pool, its key, and what its refusals mean.

Chats, streams, embeddings and decisions all go over it. Keys and inputs are never logged, and never
part of an error.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import msgspec

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError
from inhouse.inference.http.connection import HttpResponse
from inhouse.inference.http.pool import HttpPool
from inhouse.inference.http.stream import HttpStream
from inhouse.settings import UpstreamSettings

DETAIL_CHARACTERS = 300
REFUSAL_BYTES = 64 * 1024
"""As much as is read of what an upstream says when it refuses a stream."""

_RETRYABLE = frozenset({408, 429, 503})
"""408 is what a server says that gives up a connection just when it is used again."""
_FATAL = frozenset({400, 413, 422})
_HINTS = {
    401: "check api_key of this upstream",
    403: "the key may not use this model",
    404: "check base_url and the model's name",
}
_SECONDS = re.compile(r"\s*\d{1,9}(\.\d{1,9})?\s*\Z", re.ASCII)


class Wire:
    """One model of one upstream, as far as HTTP goes.

    ``reference`` stands in front of every error.
    """

    def __init__(self, reference: str, *, settings: UpstreamSettings, clock: Clock) -> None:
        self.reference = reference
        self.pool = HttpPool(settings.base_url)
        self._clock = clock
        self._key = settings.api_key.get_secret_value()
        self.headers = _headers(self._key)
        self._stream_headers = {**self.headers, "accept": "text/event-stream"}

    async def post(self, path: str, body: bytes) -> HttpResponse:
        """Send JSON and wait for the whole answer. Raises BackendError: the codes of
        ``HttpPool.request``, and ``upstream-status`` for any status but 2xx."""
        response = await self.pool.request("POST", path, self.headers, body)
        if not 200 <= response.status < 300:
            raise self.refusal(response)
        return response

    async def stream(self, path: str, body: bytes) -> HttpStream:
        """Send JSON and wait for the head of the answer; the caller closes it. Raises as ``post``
        does."""
        answer = await self.pool.stream("POST", path, self._stream_headers, body)
        if 200 <= answer.status < 300:
            return answer
        try:
            said = await answer.read(REFUSAL_BYTES)
        finally:
            answer.close()
        raise self.refusal(HttpResponse(answer.status, answer.headers, said))

    def refusal(self, response: HttpResponse) -> BackendError:
        """What an answer with another status than 2xx means."""
        status = response.status
        detail = self.detail(response.body)
        return BackendError(
            f"{self.reference} answered {status}" + (f": {detail}" if detail else ""),
            code="upstream-status",
            hint=_HINTS.get(status, ""),
            retryable=status in _RETRYABLE,
            retry_after=self._retry_after(response.headers) if status in _RETRYABLE else None,
            upstream_status=status,
            fatal=status in _FATAL,
        )

    def error(self, code: str, message: str, detail: str = "") -> BackendError:
        """An error that names this upstream."""
        more = f": {detail}" if detail else ""
        return BackendError(f"{self.reference} {message}{more}", code=code)

    def detail(self, raw: bytes) -> str:
        """What the upstream says in its own words, on one line."""
        body = decode(raw)
        said: Any = None
        if body is not None:
            error = body.get("error", body)
            said = _said(error) if isinstance(error, dict) else error
        if not isinstance(said, str):
            said = raw[: 8 * DETAIL_CHARACTERS].decode("utf-8", "replace")
        return self.clean(said)

    def clean(self, text: str) -> str:
        """A text of the upstream on one line, without the key and without control characters."""
        if self._key:
            text = text.replace(self._key, "***")
        line = " ".join(text[: 8 * DETAIL_CHARACTERS].split())
        return "".join(filter(str.isprintable, line))[:DETAIL_CHARACTERS]

    async def close(self) -> None:
        """Close the idle connections. Calls under way finish."""
        await self.pool.close()

    def _retry_after(self, headers: Mapping[str, str]) -> float | None:
        """Seconds to wait: given so, or as a date, which is compared with the server's own."""
        value = headers.get("retry-after", "")
        if _SECONDS.match(value):
            return float(value)
        until = _timestamp(value)
        if until is None:
            return None
        now = _timestamp(headers.get("date", ""))
        return max(0.0, until - (self._clock.now().timestamp() if now is None else now))


def encode(fields: Mapping[str, Any]) -> bytes:
    """A request's body. Raises BackendError (code ``upstream-unsendable``) for what is not JSON."""
    try:
        return msgspec.json.encode(fields)
    except (TypeError, ValueError, RecursionError) as error:
        raise BackendError(
            f"the question cannot be written as JSON ({type(error).__name__})",
            code="upstream-unsendable",
            fatal=True,
        ) from None


def decode(raw: bytes) -> dict[str, Any] | None:
    """The JSON object of an answer; None when it is none."""
    try:
        body = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _said(error: Mapping[str, Any]) -> Any:
    """The message of an error, with the request's field that it is about."""
    message, field = error.get("message", error.get("detail")), error.get("param")
    named = isinstance(message, str) and isinstance(field, str) and field not in message
    return f"{message} ({field})" if named else message


def _headers(key: str) -> dict[str, str]:
    headers = {
        "content-type": "application/json",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "inhouse",
    }
    if key:
        headers["authorization"] = f"Bearer {key}"
    return headers


def _timestamp(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        return None
