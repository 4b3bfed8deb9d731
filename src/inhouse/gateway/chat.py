"""OpenAI's chat format: what passes through, what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of
from inhouse.inference.base import Message, Question, Reply, Usage
from inhouse.tasks.spec import TaskSpec

DONE: Final = b"data: [DONE]\n\n"
_OURS: Final = frozenset({"model", "messages", "stream"})
_PLAIN: Final = {"role", "content"}
_MEDIA: Final = ("image_url", "input_audio", "file")


def question_of(body: Mapping[str, Any], task: TaskSpec | None) -> Question:
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
        return Question(task=task, messages=plain, options=options)
    return Question(task=task, options={**options, "messages": messages})


def recorded_messages(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The messages as they are stored: pictures, sound and files that they hold only by SHA-256."""
    return [
        {**one, "content": [_part(part) for part in one["content"]]}
        if isinstance(one.get("content"), list)
        else one
        for one in messages
    ]


def completion_of(text: str, reference: str, call_id: str, at: datetime, usage: Usage) -> bytes:
    """A chat completion around a text, in JSON. ``at`` is when the call came in."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    completion = {
        "id": f"chatcmpl-{call_id}",
        "object": "chat.completion",
        "created": int(at.timestamp()),
        "model": reference,
        "choices": [choice],
        "usage": _usage(usage),
    }
    return msgspec.json.encode(completion)


def events_of(
    text: str, reference: str, call_id: str, at: datetime, usage: Usage | None
) -> list[bytes]:
    """The same as server-sent events: the text in one chunk, the end, the token counts where
    ``usage`` is given, and ``[DONE]``."""
    frame = {
        "id": f"chatcmpl-{call_id}",
        "object": "chat.completion.chunk",
        "created": int(at.timestamp()),
        "model": reference,
    }
    said = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    ended = {"index": 0, "delta": {}, "finish_reason": "stop"}
    chunks: list[dict[str, Any]] = [{**frame, "choices": [said]}, {**frame, "choices": [ended]}]
    if usage is not None:
        chunks.append({**frame, "choices": [], "usage": _usage(usage)})
    return [*(event(chunk) for chunk in chunks), DONE]


def event(data: Any) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % msgspec.json.encode(data)


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a chat request asks for the token counts of its stream."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def recorded_reply(reply: Reply) -> dict[str, Any]:
    """What is stored of what a model said: its words, and its tool calls where it made any."""
    if reply.raw and b'"tool_calls"' not in reply.raw:
        return {"text": reply.content}
    choices = (reply.body or {}).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") if isinstance(first, Mapping) else None
    calls = message.get("tool_calls") if isinstance(message, Mapping) else None
    return {"text": reply.content, "tool_calls": calls} if calls else {"text": reply.content}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def _part(part: Any) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    held = part.get(kind) if kind in _MEDIA else None
    url = held.get("url", "data:") if isinstance(held, Mapping) else ""
    if not isinstance(url, str) or not url.startswith("data:"):
        return part
    return {"type": kind, "sha256": digest_of(held)}
