"""The Backend port: what is asked, what comes back, and what every implementation promises."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

import msgspec

from inhouse.tasks.spec import TaskSpec


class Hosting(StrEnum):
    """Whose answer it is: an own model's, a general model's on our machines, or an external one."""

    OWN = "own"
    LOCAL = "local"
    EXTERNAL = "external"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat. ``content`` is text, or the parts of OpenAI's chat format."""

    role: str
    content: Any


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as the backend counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend is asked.

    A typed question carries ``task`` and ``text`` (the input as sent); ``messages`` is its rendered
    prompt, for backends that generate. A free chat has no task, only messages. ``options`` are
    fields of OpenAI's chat request that pass through untouched (temperature, max_tokens, tools,
    response_format, ...); for a backend that says ``takes_json`` they may be ``msgspec.Raw``, the
    JSON that they came as.
    """

    task: TaskSpec | None = None
    text: str = ""
    messages: tuple[Message, ...] = ()
    options: Mapping[str, Any] = msgspec.field(default_factory=dict)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came back.

    ``content``: the raw text of a general model ("" when the backend answered natively).
    ``output``: a typed output that is valid for the task, from backends that answer natively
    (own models, likelihood scoring); None from those that only generate text.
    ``probabilities``: by label, or by level of a score, calibrated as far as the backend can.
    ``model``: the name that the backend gives itself. ``body``: the whole chat completion as the
    upstream sent it (parsed), for calls that pass through, and ``raw`` the bytes of it.
    """

    content: str = ""
    output: Mapping[str, Any] | None = None
    probabilities: Mapping[str, float] | None = None
    usage: Usage = Usage()
    model: str = ""
    body: Mapping[str, Any] | None = None
    raw: bytes = b""


class Backend(Protocol):
    """Something that answers. Implementations are safe to call from many tasks of one event loop.

    ``answer`` either returns a Reply or raises BackendError; it honours cancellation (the caller
    enforces the deadline by cancelling) and never blocks the loop. ``close`` may be called twice.
    """

    @property
    def reference(self) -> str: ...

    @property
    def hosting(self) -> Hosting: ...

    async def answer(self, question: Question) -> Reply: ...

    async def close(self) -> None: ...


class ReplyStream(Protocol):
    """A reply under way, as server-sent events.

    Iterating gives bytes: one or more whole events each (``data: {...}\\n\\n``), exactly as the
    upstream sent them, ``data: [DONE]`` included; the first piece holds everything up to and with
    the first token. Raises BackendError when the upstream breaks off. ``reply`` is what was said so
    far (content, usage, model), at any time. ``close`` gives the connection up unless the stream is
    complete; it may be called twice.
    """

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def reply(self) -> Reply: ...

    async def close(self) -> None: ...


class Streaming(Protocol):
    """A backend that can answer token by token."""

    async def stream(self, question: Question) -> ReplyStream:
        """Returns once the first token has come, and raises BackendError until then. A first token
        is the first event with content, a refusal, a tool call, or the reason of the end."""
        ...


class Embeddings(msgspec.Struct, frozen=True, kw_only=True):
    """Vectors of texts, one each and in their order; ``raw`` is an upstream's whole answer as it
    sent it, and ``vectors`` empty then."""

    vectors: Sequence[Sequence[float]] = ()
    usage: Usage = Usage()
    model: str = ""
    raw: bytes = b""


class Embedding(Protocol):
    """A backend that turns texts into vectors."""

    async def embed(self, inputs: Sequence[Any], options: Mapping[str, Any]) -> Embeddings:
        """``inputs``: texts, or lists of token ids for upstreams that take them. ``options`` are
        the other fields of OpenAI's request. Raises BackendError, and Invalid for what it cannot
        do."""
        ...


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to one question of a decision.

    ``probabilities``: one per choice or level in their order, summing to 1; for a predicate one,
    its probability. None when the model refused.
    """

    probabilities: tuple[float, ...] | None


class Judgements(msgspec.Struct, frozen=True, kw_only=True):
    """The answers to a decision's questions, in their order."""

    answers: tuple[Judgement, ...]
    usage: Usage = Usage()
    model: str = ""


class Deciding(Protocol):
    """A backend that answers free typed questions with probabilities."""

    async def decide(self, text: str, questions: Sequence[Mapping[str, Any]]) -> Judgements:
        """``questions`` are those of ``POST /v1/decisions``, checked. Raises BackendError."""
        ...
