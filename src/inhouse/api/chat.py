"""Between OpenAI's chat format and the call of a task. Pure."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from inhouse.api.body import parse, parse_with
from inhouse.api.problems import FieldError
from inhouse.client.models import ChatRequest, Key, Tags, User
from inhouse.gateway.body import ChatBody
from inhouse.gateway.chat import events_of
from inhouse.gateway.entry import Outcome
from inhouse.tasks.spec import TaskKind, TaskSpec

_whole = msgspec.json.Decoder(ChatRequest)
_HINT: Final = "a task has its own prompt; send one user message with the text to judge"


class ChatHead(msgspec.Struct, kw_only=True, frozen=True):
    """What is read of every chat request, whoever answers it."""

    model: Key
    stream: bool | None = None
    user: User | None = None
    metadata: Tags | None = None


_head = msgspec.json.Decoder(ChatHead)
_encode = msgspec.json.Encoder().encode


def read_chat(raw: bytes) -> tuple[ChatHead, ChatBody]:
    """A chat request, decoded as far as everybody needs it. Raises BadRequest, FieldError."""
    body = parse_with(ChatBody.of, raw)
    fields = body.fields
    found = {name: fields[name] for name in ChatHead.__struct_fields__ if name in fields}
    return parse(_head, _encode(found)), body


def read_whole(raw: bytes) -> ChatRequest:
    """The same request for a task with a prompt of its own. Raises FieldError."""
    return parse(_whole, raw)


def task_input(request: ChatRequest) -> str:
    """The text that a chat request puts to a task. Raises FieldError when it asks for more."""
    for name in ("tools", "functions"):
        if getattr(request, name):
            raise FieldError(f"{name}: a task calls no tools", field=name, hint=_HINT)
    if request.n not in (None, 1):
        raise FieldError("n: a task has one answer", field="n", hint="leave n out")
    for position, message in enumerate(request.messages):
        if message.get("role") != "user":
            raise FieldError(
                f"messages.{position}: a task takes no {message.get('role')!r} message",
                field=f"messages.{position}.role",
                code="task-messages",
                hint=_HINT,
            )
    if len(request.messages) > 1:
        raise FieldError(
            f"messages: a task takes one user message, got {len(request.messages)}",
            field="messages",
            code="task-messages",
            hint=_HINT,
        )
    return _text(request.messages[0].get("content"))


def _text(content: object) -> str:
    """The text of a message: a string, or parts that are all text."""
    text = content if isinstance(content, str) else None
    if isinstance(content, list) and content:
        parts = [_part(part) for part in content]
        text = None if None in parts else "\n".join(part for part in parts if part is not None)
    if not text:
        raise FieldError(
            "messages.0.content: expected text, or parts of type text",
            field="messages.0.content",
            code="task-messages",
            hint="a task of this kind reads text only",
        )
    return text


def _part(part: object) -> str | None:
    if isinstance(part, Mapping) and part.get("type") == "text":
        text = part.get("text")
        return text if isinstance(text, str) else None
    return None


def content_of(spec: TaskSpec, output: Mapping[str, Any]) -> str:
    """A task's output as the content of a message: text as it is, everything else as JSON."""
    if spec.kind is TaskKind.TEXT:
        return str(output["text"])
    return msgspec.json.encode(output).decode()


async def events(
    content: str, model: str, outcome: Outcome, at: datetime, request: ChatRequest
) -> AsyncGenerator[bytes, None]:
    """A task's answer as a stream, for callers who ask for one."""
    usage = outcome.usage if (request.stream_options or {}).get("include_usage") is True else None
    for one in events_of(content, model, outcome.interaction_id, at, usage):
        yield one
