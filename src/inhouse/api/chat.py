"""Between OpenAI's chat format and the call of a task. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from inhouse.api.problems import BadRequest, FieldError
from inhouse.client.models import ChatChoice, ChatMessage, ChatRequest, ChatResponse, ChatUsage
from inhouse.inference.base import Usage

_HINT = "a task has its own prompt; send one user message with the text to judge"


def check_supported(request: ChatRequest) -> None:
    """Refuse what this server does not do yet. Raises BadRequest."""
    if request.stream:
        raise BadRequest(
            "streaming is not there yet",
            field="stream",
            code="streaming-unsupported",
            hint="leave stream out",
        )


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


def completion(
    interaction_id: str, output: Mapping[str, Any], model: str, usage: Usage, created: int
) -> ChatResponse:
    """A task's answer as a chat completion. ``created``: seconds since 1970, UTC."""
    return ChatResponse(
        id=f"chatcmpl-{interaction_id}",
        created=created,
        model=model,
        choices=[ChatChoice(message=ChatMessage(content=msgspec.json.encode(output).decode()))],
        usage=ChatUsage(
            prompt_tokens=usage.input_tokens,
            completion_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        ),
    )
