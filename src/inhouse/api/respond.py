"""Answers of the hot routes: bytes in one piece, or server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final, NamedTuple, Protocol
from urllib.parse import quote

from inhouse.api.problems import Headers

WRITER: Final = "inhouse.writer"
"""Where a request's scope holds the ``Writer`` of its answer, if the server has one."""


class Response(NamedTuple):
    """A whole answer."""

    status: int
    headers: Headers
    body: bytes


class Streamed(NamedTuple):
    """An answer that comes in pieces. ``pieces`` is iterated once, and closed in any case."""

    headers: Headers
    pieces: AsyncGenerator[bytes, None]


class Writer(Protocol):
    """Writes an answer past ASGI, at once. Each method says whether it did; otherwise it has to be
    sent the ASGI way."""

    def whole(self, answer: Response) -> bool:
        """The whole of it."""
        ...

    def piece(self, data: bytes) -> bool:
        """One more piece (not empty) of one whose head was sent."""
        ...


class Answered(Protocol):
    """What every answer of the gateway says of itself."""

    @property
    def interaction_id(self) -> str: ...

    @property
    def model_version(self) -> str: ...

    @property
    def arm(self) -> str: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...


def as_json(body: bytes, answered: Answered) -> Response:
    """A JSON answer with the headers that every call has."""
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
        *_of_call(answered),
    ]
    return Response(200, headers, body)


def as_events(pieces: AsyncGenerator[bytes, None], answered: Answered) -> Streamed:
    """A stream of server-sent events with the same headers."""
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-cache"),
        *_of_call(answered),
    ]
    return Streamed(headers, pieces)


def _of_call(answered: Answered) -> Headers:
    headers = [
        (b"x-inhouse-interaction-id", answered.interaction_id.encode()),
        (b"x-inhouse-model-version", as_ascii(answered.model_version)),
        (b"x-inhouse-arm", answered.arm.encode()),
    ]
    if answered.warnings:
        headers.append((b"x-inhouse-warning", as_ascii("; ".join(answered.warnings))))
    return headers


def as_ascii(text: str) -> bytes:
    """Text as a header's value: what is not ASCII is percent-encoded."""
    return (text if text.isascii() else quote(text, safe="/@: ;%,")).encode()
