"""What comes into the gateway and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inhouse.inference.base import Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a task.

    ``unit`` is what the split is drawn over (the call itself when None), ``subject`` whose data it
    is; both are stored as salted hashes only. ``model`` pins the call to one reference.
    ``interaction_id`` is a fresh id of ``core.ids``.
    """

    interaction_id: str
    task: str
    text: str
    unit: str | None = None
    subject: str | None = None
    tags: Mapping[str, str] | None = None
    model: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The answer to a call.

    ``model_version`` is the reference that answered, "" when ``flagged``: nothing could answer and
    ``output`` is the task's ``on_failure`` value. ``cost`` and ``usage`` are those of every try.
    """

    interaction_id: str
    task: str
    output: Mapping[str, Any]
    probabilities: Mapping[str, float] | None
    model_version: str
    arm: str
    flagged: bool
    latency_ms: float
    cost: float
    usage: Usage
    route_revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatCall:
    """A free chat with one model: ``reference`` is ``<upstream>/<model>`` or ``embedded/<base>``,
    ``body`` OpenAI's chat request as it came."""

    interaction_id: str
    reference: str
    body: Mapping[str, Any]
    unit: str | None = None
    subject: str | None = None
    tags: Mapping[str, str] | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatOutcome:
    """The answer to a free chat: OpenAI's chat completion, ``model`` being the reference."""

    interaction_id: str
    body: Mapping[str, Any]
    model_version: str
    arm: str
    latency_ms: float
    cost: float
