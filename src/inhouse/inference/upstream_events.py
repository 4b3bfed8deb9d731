"""The server-sent events of a chat stream: cut into whole events, read, and remembered.

Bytes in, the bytes to pass on out. Does no input or output of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from inhouse.core.errors import BackendError
from inhouse.inference.base import Reply, Usage
from inhouse.inference.http.connection import HttpResponse
from inhouse.inference.upstream_chat import (
    DONE,
    Chunk,
    ChunkChoice,
    Delta,
    read_chunk,
    text_of,
    usage_of,
)
from inhouse.inference.wire import Wire, decode

KEPT_CHARACTERS: Final = 1_000_000
"""As much as is remembered of what was said; the rest passes through all the same."""
_REFUSALS: Final = range(400, 600)
_BLANK = re.compile(rb"(\r?\n\r?\n)")


class ChatEvents:
    """Reads a chat stream as it comes.

    ``wire``: for what errors mean and say. ``hide_usage``: the chunk that carries nothing but token
    counts is read and left out. ``started``: the first token has come. ``done``: the upstream said
    ``[DONE]``. ``error``: what made the stream unusable; nothing after it is passed on.
    """

    def __init__(self, wire: Wire, *, hide_usage: bool) -> None:
        self._wire = wire
        self._hide_usage = hide_usage
        self._rest = bytearray()
        self._said = Said()
        self.started = False
        self.done = False
        self.error: BackendError | None = None

    @property
    def broken(self) -> bool:
        return self.error is not None

    def feed(self, data: bytes) -> bytes:
        """Take bytes as they came; returns the whole events that are complete with them."""
        rest = self._rest
        if data.endswith(b"\n\n"):
            if rest:
                data = bytes(rest) + data
                rest.clear()
            return self._pass(data)
        seen = max(0, len(rest) - 3)
        rest += data
        end = max(rest.rfind(b"\n\n", seen) + 2, rest.rfind(b"\n\r\n", seen) + 3)
        if end < 3:
            return b""
        whole = bytes(rest[:end])
        del rest[:end]
        return self._pass(whole)

    def finish(self) -> bytes:
        """The upstream's answer is over: the last event, where only its blank line was missing.
        Sets ``error`` when the stream lacks its end."""
        left = bytes(self._rest).rstrip(b"\r\n")
        self._rest.clear()
        if self.done or self.broken:
            return b""
        last = self._pass(left + b"\n\n") if left else b""
        if not self._is_complete() or self._is_cut():
            self.error = self._unfinished(left)
        return last

    def reply(self, model: str) -> Reply:
        """What was said so far; ``model`` where the upstream does not name itself."""
        return self._said.reply(model)

    def _is_complete(self) -> bool:
        return self.done or self._said.ended

    def _is_cut(self) -> bool:
        """Whether the last event cannot be read."""
        return self.error is not None and self.error.code == "upstream-garbage"

    def _unfinished(self, left: bytes) -> BackendError:
        if self.error is not None and not self._is_cut():
            return self.error
        if self._said.chunks:
            return self._wire.error("upstream-closed", "ended its stream too early")
        return self._garbage("sent no chat stream", left)

    def _garbage(self, message: str, raw: bytes) -> BackendError:
        return self._wire.error("upstream-garbage", message, self._wire.detail(raw) if raw else "")

    def _refused(self, data: bytes) -> BackendError:
        """An error as an event; before the first token it means what a status would."""
        body = decode(data)
        said = body.get("error") if body is not None else None
        status = said.get("code") if isinstance(said, dict) else None
        if not self.started and type(status) is int and status in _REFUSALS:
            return self._wire.refusal(HttpResponse(status, {}, data))
        detail = self._wire.detail(data)
        return self._wire.error("upstream-stream-error", "broke off its stream", detail)

    def _pass(self, whole: bytes) -> bytes:
        events = _BLANK.split(whole)[::2] if b"\r" in whole else whole.split(b"\n\n")
        hidden: list[int] = []
        for number, event in enumerate(events):
            if not event or self.done:
                continue
            try:
                shown = self._read(event)
            except BackendError as error:
                self.error = error
                return _without(whole, hidden, number)
            if not shown:
                hidden.append(number)
        return _without(whole, hidden, len(events)) if hidden else whole

    def _read(self, event: bytes) -> bool:
        """Whether the caller is to see it. Raises BackendError for what is no part of a chat."""
        if event.startswith(b"data: {") and b"\n" not in event:
            name, data = b"", event[6:]
        else:
            name, data = _fields(event)
        if not data:
            return True
        if data == DONE:
            if not self.started:
                raise self._garbage("ended its stream without a word", b"")
            self.done = True
            return True
        chunk = read_chunk(data)
        if name == b"error" or (chunk is not None and _is_error(chunk)):
            raise self._refused(data)
        if chunk is None:
            raise self._garbage("sent what is no chat chunk", data)
        self._said.note(chunk)
        if chunk.choices:
            self.started = self.started or _is_token(chunk.choices)
            return True
        return not (self._hide_usage and chunk.usage)


class Said:
    """What the first choice of a stream said, put together."""

    def __init__(self) -> None:
        self._content: list[str] = []
        self._refusal: list[str] = []
        self._calls: list[_Call] = []
        self._at: dict[int | None, _Call] = {}
        self._room = KEPT_CHARACTERS
        self._usage: Any = None
        self._model: Any = None
        self.ended = False
        self.chunks = 0

    def note(self, chunk: Chunk) -> None:
        """Take one chunk in."""
        if not self._model:
            self._model = chunk.model
        if chunk.usage:
            self._usage = chunk.usage
        if chunk.choices is None:
            return
        self.chunks += 1
        for choice in chunk.choices:
            if choice.finish_reason:
                self.ended = True
            if choice.delta is not None and not choice.index:
                self._take(choice.delta)

    def reply(self, model: str) -> Reply:
        return Reply(
            content="".join(self._content) or "".join(self._refusal),
            usage=usage_of(self._usage) if self._usage else Usage(),
            model=self._model if isinstance(self._model, str) else model,
            body=self._body() if self._calls else None,
        )

    def _body(self) -> dict[str, Any]:
        message = {
            "role": "assistant",
            "content": "".join(self._content) or None,
            "tool_calls": [call.whole() for call in self._calls],
        }
        return {"choices": [{"index": 0, "message": message}]}

    def _take(self, delta: Delta) -> None:
        if delta.content:
            self._keep(self._content, text_of(delta.content))
        if delta.refusal:
            self._keep(self._refusal, text_of(delta.refusal))
        for call in delta.tool_calls if isinstance(delta.tool_calls, list) else ():
            if isinstance(call, dict):
                self._join(call)

    def _keep(self, texts: list[str], text: str) -> None:
        if self._room > 0:
            texts.append(text[: self._room])
            self._room -= len(text)

    def _join(self, call: dict[str, Any]) -> None:
        """Id and name come once, the arguments in pieces. Some servers number no calls, or all the
        same: another id with a name starts another call."""
        index, function, own = call.get("index"), call.get("function"), call.get("id")
        if not isinstance(index, int | None) or not isinstance(function, dict) or self._room <= 0:
            return
        known = self._at.get(index)
        if known is None or (own and known.id and own != known.id and function.get("name")):
            known = self._at[index] = _Call()
            self._calls.append(known)
        known.id = known.id or own
        known.name = known.name or function.get("name")
        if isinstance(arguments := function.get("arguments"), str):
            self._keep(known.arguments, arguments)
        self._room -= 1


@dataclass(slots=True)
class _Call:
    id: Any = None
    name: Any = None
    arguments: list[str] = field(default_factory=list)

    def whole(self) -> dict[str, Any]:
        function = {"name": self.name, "arguments": "".join(self.arguments)}
        return {"id": self.id, "type": "function", "function": function}


def _is_error(chunk: Chunk) -> bool:
    return bool(chunk.error and not chunk.choices) or chunk.object == "error"


def _is_token(choices: list[ChunkChoice]) -> bool:
    """Whether a chunk holds something that a caller waits for."""
    for choice in choices:
        delta = choice.delta
        if choice.finish_reason:
            return True
        if delta is not None and (
            delta.content
            or delta.refusal
            or delta.tool_calls
            or delta.function_call
            or delta.reasoning_content
            or delta.reasoning
        ):
            return True
    return False


def _fields(event: bytes) -> tuple[bytes, bytes]:
    """Name and data of an event; ``error:`` in front of the data is how some servers name it."""
    name, data = b"", []
    for line in event.splitlines():
        key, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match key.removeprefix(b"\xef\xbb\xbf"):
            case b"data":
                data.append(value)
            case b"event":
                name = value
            case b"error":
                name = key
                data.append(value)
            case _:
                pass
    return name, b"\n".join(data)


def _without(whole: bytes, hidden: list[int], stop: int) -> bytes:
    """The events up to ``stop``, byte for byte, without those that are hidden."""
    parts = _BLANK.split(whole)
    return b"".join(
        part for place, part in enumerate(parts) if place // 2 < stop and place // 2 not in hidden
    )
