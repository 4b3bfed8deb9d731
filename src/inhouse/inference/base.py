"""The Backend port: what is asked, what comes back, and what every implementation promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the backend counted them."""

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a backend is asked.

    A typed question carries ``task`` and ``text`` (the input as sent); ``messages`` is its rendered
    prompt, for backends that generate. A free chat has no task, only messages. ``options`` are
    fields of OpenAI's chat request that pass through untouched (temperature, max_tokens, tools,
    response_format, ...).
    """

    task: TaskSpec | None = None
    text: str = ""
    messages: tuple[Message, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What came back.

    ``content``: the raw text of a general model ("" when the backend answered natively).
    ``output``: a typed output that is valid for the task, from backends that answer natively
    (own models, likelihood scoring); None from those that only generate text.
    ``probabilities``: by label, or by level of a score, calibrated as far as the backend can.
    ``model``: the name that the backend gives itself. ``body``: the whole chat completion as the
    upstream sent it (parsed), for calls that pass through.
    """

    content: str = ""
    output: Mapping[str, Any] | None = None
    probabilities: Mapping[str, float] | None = None
    usage: Usage = Usage()
    model: str = ""
    body: Mapping[str, Any] | None = None


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
