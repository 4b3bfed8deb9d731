"""OpenAI's formats as upstreams send them: what is read of a completion, a chunk, of embeddings.

Only what is needed is decoded; servers differ in the rest, and it passes through.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from typing_extensions import override

from inhouse.inference.base import Usage

DONE = b"[DONE]"


class Message(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None


class Choice(msgspec.Struct, gc=False):
    message: Message
    finish_reason: Any = None


class Completion(msgspec.Struct, gc=False):
    choices: list[Choice]
    usage: Any = None
    model: Any = None


class Vectors(msgspec.Struct, gc=False):
    data: list[msgspec.Raw]
    usage: Any = None
    model: Any = None


class Delta(msgspec.Struct, gc=False):
    content: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    reasoning_content: Any = None
    reasoning: Any = None


class ChunkChoice(msgspec.Struct, gc=False):
    index: int | None = 0
    delta: Delta | None = None
    finish_reason: Any = None


class Chunk(msgspec.Struct, gc=False):
    choices: list[ChunkChoice] | None = None
    usage: Any = None
    model: Any = None
    error: Any = None
    object: Any = None


_completion = msgspec.json.Decoder(Completion)
_vectors = msgspec.json.Decoder(Vectors)
_chunk = msgspec.json.Decoder(Chunk)
_UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)


def read_completion(raw: bytes) -> Completion | None:
    """A completion with at least one choice; None when it is none."""
    try:
        completion = _completion.decode(raw)
    except _UNREADABLE:
        return None
    return completion if completion.choices else None


def read_vectors(raw: bytes) -> Vectors | None:
    """The answer to a request for embeddings; None when it is none."""
    try:
        return _vectors.decode(raw)
    except _UNREADABLE:
        return None


def read_chunk(raw: bytes) -> Chunk | None:
    """The chunk of a stream, or an error in its place; None when it is neither."""
    try:
        return _chunk.decode(raw)
    except _UNREADABLE:
        return None


def text_of(content: Any) -> str:
    """Text, or the text parts of a list of parts; everything else counts as nothing said."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = (part.get("text") for part in parts if isinstance(part, dict))
    return "".join(text for text in texts if isinstance(text, str))


def usage_of(usage: Any) -> Usage:
    """Token counts; what is not told, or is no number, counts nothing."""
    if not isinstance(usage, dict):
        return Usage()
    return Usage(
        input_tokens=_count(usage.get("prompt_tokens")),
        output_tokens=_count(usage.get("completion_tokens")),
    )


def chunks_of(completion: Mapping[str, Any]) -> bytes:
    """A whole completion as the events of a stream: for each choice what it says and how it ends,
    then the token counts, then ``[DONE]``."""
    frame = {name: value for name, value in completion.items() if name not in ("choices", "usage")}
    frame["object"] = "chat.completion.chunk"
    chunks = []
    for number, choice in enumerate(completion["choices"]):
        index = choice.get("index", number)
        said = {"index": index, "delta": _delta_of(choice["message"]), "finish_reason": None}
        if "logprobs" in choice:
            said["logprobs"] = choice["logprobs"]
        end = {"index": index, "delta": {}, "finish_reason": choice.get("finish_reason") or "stop"}
        chunks += [{**frame, "choices": [said]}, {**frame, "choices": [end]}]
    if completion.get("usage"):
        chunks.append({**frame, "choices": [], "usage": completion["usage"]})
    events = [b"data: %b\n\n" % msgspec.json.encode(chunk) for chunk in chunks]
    return b"".join([*events, b"data: %b\n\n" % DONE])


def _delta_of(message: Mapping[str, Any]) -> dict[str, Any]:
    delta = {"role": "assistant", **message}
    calls = delta.get("tool_calls")
    if isinstance(calls, list):
        delta["tool_calls"] = [
            {"index": index, **call} for index, call in enumerate(calls) if isinstance(call, dict)
        ]
    return delta


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


class LazyBody(Mapping[str, Any]):
    """The JSON object in ``raw``, which is decoded when somebody looks. It is known to be one; what
    cannot be read in full (a number out of range) is empty."""

    __slots__ = ("_body", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._body: dict[str, Any] | None = None

    @override
    def __getitem__(self, key: str) -> Any:
        return self._decoded()[key]

    @override
    def __iter__(self) -> Iterator[str]:
        return iter(self._decoded())

    @override
    def __len__(self) -> int:
        return len(self._decoded())

    def _decoded(self) -> dict[str, Any]:
        if self._body is None:
            try:
                self._body = dict(msgspec.json.decode(self._raw))
            except _UNREADABLE:
                self._body = {}
        return self._body
