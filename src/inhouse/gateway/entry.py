"""What comes into the gateway and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec

from inhouse.gateway.body import ChatBody
from inhouse.gateway.keys import Key
from inhouse.inference.base import Usage

T = TypeVar("T")


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """What every call says of itself.

    ``interaction_id`` is a fresh id of ``core.ids``. ``unit`` is what a split is drawn over (the
    call itself when None), ``subject`` whose data it is; both are stored as salted hashes only.
    ``key`` is None for calls of this machine while no key exists.
    """

    interaction_id: str
    unit: str | None = None
    subject: str | None = None
    tags: Mapping[str, str] | None = None
    key: Key | None = None


class Call(Caller, frozen=True, kw_only=True):
    """One call of a task. ``model`` pins it to one reference."""

    task: str
    text: str
    model: str | None = None


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a call.

    ``model_version`` is the reference that answered, "" when ``flagged``: nothing could answer and
    ``output`` is the task's ``on_failure`` value. ``cost`` and ``usage`` are those of every try.
    ``warnings`` say which limits are nearly used up.
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
    warnings: tuple[str, ...] = ()


class ChatCall(Caller, frozen=True, kw_only=True):
    """A chat that passes through: ``body`` is OpenAI's chat request.

    ``reference``: a model (``<upstream>/<model>``, ``embedded/<base>``), or ``task:<task>`` of a
    task that takes messages, whose route then says which model answers.
    """

    reference: str
    body: ChatBody


class ChatOutcome(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a chat: ``body`` is OpenAI's chat completion in JSON, an upstream's as it sent
    it. ``model_version`` and ``warnings`` as in ``Outcome``."""

    interaction_id: str
    body: bytes
    model_version: str
    arm: str
    latency_ms: float
    cost: float
    warnings: tuple[str, ...] = ()


class DirectCall(Caller, frozen=True, kw_only=True):
    """A call of one model that is neither a task nor a chat: a free decision, embeddings.
    ``input`` is what is recorded of the question, ``timeout_s`` its deadline."""

    reference: str
    input: Any
    timeout_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Direct(Generic[T]):
    """The answer to a direct call."""

    value: T
    interaction_id: str
    model_version: str
    arm: str
    latency_ms: float
    cost: float
    warnings: tuple[str, ...] = ()
