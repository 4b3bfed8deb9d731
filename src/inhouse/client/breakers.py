"""Circuit breakers as they travel: what a server knows of its backends."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from urllib.parse import quote

from pydantic import TypeAdapter

from inhouse.client.calls import Ask
from inhouse.client.control import Answer
from inhouse.client.sync import Client


class Breaker(Answer):
    """The circuit breaker of one backend.

    ``failures``: in a row. ``opened_at`` and ``until`` are set unless it is closed: since when the
    backend is left alone, and from when on one call may try it. ``error_code`` and ``error``: its
    last failure, also an old one. ``in_flight``: calls under way. ``calls``: all that reached the
    backend, ``opened``: times that the breaker opened, both since the server began.
    """

    reference: str
    state: Literal["closed", "open", "half-open"]
    failures: int
    opened_at: datetime | None
    until: datetime | None
    error_code: str | None
    error: str | None
    in_flight: int
    calls: int
    opened: int


_LIST = TypeAdapter(list[Breaker])


def list_breakers(client: Client) -> list[Breaker]:
    """The breakers of a server, by reference. Raises ApiError."""
    return _LIST.validate_json(client._answer(Ask("GET", "/v1/breakers")))


def reset_breaker(client: Client, reference: str) -> Breaker:
    """Close a breaker; the next call goes to its backend. Raises ApiError."""
    path = f"/v1/breakers/{quote(reference)}/reset"
    return Breaker.model_validate_json(client._answer(Ask("POST", path)))
