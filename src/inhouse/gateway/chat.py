"""OpenAI's chat format: what passes through, what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.inference.base import Message, Question, Reply

_OURS: Final = frozenset({"model", "messages", "stream", "stream_options"})
_PLAIN: Final = {"role", "content"}
_MEDIA: Final = ("image_url", "input_audio", "file")


def check_direct(reference: str) -> None:
    """Raise Invalid unless the reference names one general model."""
    kind = parse_reference(reference).kind
    if kind not in (ReferenceKind.UPSTREAM, ReferenceKind.EMBEDDED):
        raise Invalid(
            f"{reference} does not chat",
            code="reference",
            hint="free chats go to <upstream>/<model> or embedded/<base>",
        )


def question_of(body: Mapping[str, Any]) -> Question:
    """The question that a chat request asks; every field that is not ours passes through.

    Messages with more than role and content (tool calls, names) are the option ``messages``. Raises
    Invalid (code ``messages``) when there are none, or one without a role.
    """
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Invalid("messages is a list with at least one message", code="messages")
    if not all(isinstance(one, Mapping) and isinstance(one.get("role"), str) for one in messages):
        raise Invalid("every message has a role", code="messages")
    options = {name: value for name, value in body.items() if name not in _OURS}
    if all(one.keys() == _PLAIN for one in messages):
        plain = tuple(Message(one["role"], one["content"]) for one in messages)
        return Question(messages=plain, options=options)
    return Question(options={**options, "messages": messages})


def recorded_messages(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages as they are stored: pictures, sound and files that they hold only by SHA-256."""
    return [
        {**one, "content": [_part(part) for part in one["content"]]}
        if isinstance(one.get("content"), list)
        else one
        for one in messages
    ]


def completion_of(
    reply: Reply, reference: str, interaction_id: str, at: datetime
) -> dict[str, Any]:
    """The chat completion: the upstream's own with ``model`` replaced, or one made of the text."""
    if reply.body is not None:
        return {**reply.body, "model": reference}
    usage = reply.usage
    message = {"role": "assistant", "content": reply.content}
    return {
        "id": f"chatcmpl-{interaction_id}",
        "object": "chat.completion",
        "created": int(at.timestamp()),
        "model": reference,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }


def content_of(completion: Mapping[str, Any]) -> Any:
    """What the first choice says; None when it says nothing in words, as with tool calls."""
    choices = completion.get("choices") or [{}]
    return (choices[0].get("message") or {}).get("content")


def _part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    held = part.get(kind) if kind in _MEDIA else None
    url = held.get("url", "data:") if isinstance(held, Mapping) else ""
    if not isinstance(url, str) or not url.startswith("data:"):
        return part
    return {"type": kind, "sha256": digest_of(held)}
