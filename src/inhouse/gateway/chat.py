"""OpenAI's chat format: what passes through, what is recorded of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from inhouse.core.nesting import is_too_deep
from inhouse.gateway.body import ChatBody
from inhouse.inference.base import Message, Question, Reply, Usage
from inhouse.inference.upstream_chat import text_of
from inhouse.tasks.prompts import count_pieces
from inhouse.tasks.spec import TaskSpec

DONE: Final = b"data: [DONE]\n\n"
_PLAIN: Final = {"role", "content"}


def passed_on(body: ChatBody, task: TaskSpec | None) -> Question:
    """The question for an upstream: every field that is its business, as the JSON that it came as.
    Raises Invalid (code ``messages``)."""
    body.check_messages()
    return Question(task=task, options=body.passed_on())


def spelt_out(body: ChatBody, task: TaskSpec | None) -> Question:
    """The same question for a backend that reads messages and options itself. Messages with more
    than role and content (tool calls, names) are the option ``messages``."""
    options = body.decoded()
    messages = options["messages"]
    if all(one.keys() == _PLAIN for one in messages):
        del options["messages"]
        plain = tuple(Message(one["role"], one["content"]) for one in messages)
        return Question(task=task, messages=plain, options=options)
    return Question(task=task, options=options)


def usage_of_chat(body: ChatBody, reply: Reply) -> Usage:
    """What a chat used up. Where its token counts never came (the upstream tells none, a stream
    broke off), about what its texts amount to: a budget must not depend on that."""
    if reply.usage != Usage():
        return reply.usage
    messages = msgspec.json.decode(body.fields["messages"])
    asked = (text_of(message.get("content")) for message in messages)
    return Usage(
        input_tokens=sum(map(count_pieces, asked)), output_tokens=count_pieces(reply.content)
    )


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


def recorded_reply(reply: Reply) -> dict[str, Any]:
    """What is stored of what a model said: its words, and its tool calls where it made any."""
    if reply.raw and b'"tool_calls"' not in reply.raw:
        return {"text": reply.content}
    choices = (reply.body or {}).get("choices")
    first = choices[0] if isinstance(choices, list) and choices else {}
    message = first.get("message") if isinstance(first, Mapping) else None
    calls = message.get("tool_calls") if isinstance(message, Mapping) else None
    if not calls or is_too_deep(calls):
        return {"text": reply.content}
    return {"text": reply.content, "tool_calls": calls}


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
