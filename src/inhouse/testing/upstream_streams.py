"""What a ScriptedUpstream may do with a request for a stream: stream, or break off on the way.

A stream is made of events; ``after`` counts the tokens that come before the fault.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.testing.upstream_exchange import Behaviour, Exchange, head

Tokens = str | Sequence[str] | Callable[[list[dict[str, Any]]], str]
"""What to say: a text (streamed word by word), its pieces, or a function of the messages."""
Fault = Callable[[Exchange], Awaitable[None]]

DONE = b"data: [DONE]\n\n"
_EVENTS = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
_LAST_CHUNK = b"0\r\n\r\n"


def chunk(
    delta: Mapping[str, Any] | None,
    *,
    model: str = "scripted",
    finish_reason: str | None = None,
    **fields: Any,
) -> dict[str, Any]:
    """One chunk of a streamed chat; ``delta`` None leaves out the choice."""
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": model,
        "choices": [] if delta is None else [choice],
        **fields,
    }


def event(value: Any) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % json.dumps(value).encode()


def usage_chunk(
    model: str = "scripted", *, input_tokens: int = 7, output_tokens: int = 3
) -> dict[str, Any]:
    """The chunk that holds nothing but token counts."""
    usage = {
        "prompt_tokens": input_tokens,
        "completion_tokens": output_tokens,
        "total_tokens": input_tokens + output_tokens,
    }
    return chunk(None, model=model, usage=usage)


def words(text: str) -> list[str]:
    """A text in tokens: words with the blank before them."""
    first, *rest = text.split(" ")
    return [first, *(f" {word}" for word in rest)]


@dataclass(frozen=True, kw_only=True)
class Told:
    """A stream in its parts: the role, one event for each token, how it ends, and the rest."""

    opening: bytes
    tokens: tuple[bytes, ...]
    ending: bytes
    usage: bytes
    done: bytes = DONE

    @property
    def whole(self) -> bytes:
        """All of it, with the token counts."""
        return b"".join((self.opening, *self.tokens, self.ending, self.usage, self.done))


def told(
    tokens: Iterable[str],
    *,
    model: str = "scripted",
    finish_reason: str = "stop",
    tool_calls: Sequence[Mapping[str, Any]] = (),
    output_tokens: int | None = None,
) -> Told:
    """A stream of tokens, then of pieces of tool calls."""
    said = [event(chunk({"content": token}, model=model)) for token in tokens]
    called = [event(chunk({"tool_calls": [call]}, model=model)) for call in tool_calls]
    count = len(said) + len(called) if output_tokens is None else output_tokens
    return Told(
        opening=event(chunk({"role": "assistant", "content": ""}, model=model)),
        tokens=(*said, *called),
        ending=event(chunk({}, model=model, finish_reason=finish_reason)),
        usage=event(usage_chunk(model, output_tokens=count)),
    )


def stream(
    tokens: Tokens,
    *,
    pause_s: float = 0.0,
    usage: bool | None = None,
    done: bool = True,
    line_end: bytes = b"\n",
    **fields: Any,
) -> Behaviour:
    """Stream ``tokens``; ``fields`` are those of ``told``. ``pause_s`` lies between two events.

    ``usage``: send the chunk of token counts; by default where the request asks for it.
    """

    async def behave(exchange: Exchange) -> None:
        parts = _parts(exchange, tokens, fields)
        counted = _asks_for_usage(exchange) if usage is None else usage
        ends = (parts.ending, parts.usage * counted, parts.done * done)
        await exchange.send(head(200, None, _EVENTS))
        for one in filter(None, (parts.opening, *parts.tokens, *ends)):
            await exchange.send(_framed(one.replace(b"\n", line_end)))
            await asyncio.sleep(pause_s)
        await exchange.send(_LAST_CHUNK)

    return behave


def raw_stream(
    *pieces: bytes, split_at: Sequence[int] = (), close: bool = False, pause_s: float = 0.0
) -> Behaviour:
    """Any bytes as the body of a stream, each piece in a chunk of its own; ``split_at`` cuts them,
    joined, at these places instead. ``close``: the end of the connection is the end of the body."""

    async def behave(exchange: Exchange) -> None:
        headers = {"content-type": "text/event-stream"} if close else _EVENTS
        await exchange.send(head(200, None, headers))
        for piece in cut(b"".join(pieces), split_at) if split_at else pieces:
            await exchange.send(piece if close else _framed(piece))
            await asyncio.sleep(pause_s)
        if close:
            exchange.close()
        else:
            await exchange.send(_LAST_CHUNK)

    return behave


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The bytes in pieces that end at these places."""
    marks = sorted({0, len(data), *(place for place in places if 0 < place < len(data))})
    return [data[start:end] for start, end in itertools.pairwise(marks)]


def stream_then_cut(tokens: Tokens, *, after: int) -> Behaviour:
    """Close the connection in the middle of the stream."""

    async def close(exchange: Exchange) -> None:
        exchange.close()

    return _faulty(tokens, after, close)


def stream_then_reset(tokens: Tokens, *, after: int) -> Behaviour:
    """Reset the connection in the middle of the stream."""

    async def reset(exchange: Exchange) -> None:
        exchange.reset()

    return _faulty(tokens, after, reset)


def stream_then_end(tokens: Tokens, *, after: int) -> Behaviour:
    """End the body, well framed, in the middle of the stream."""

    async def end(exchange: Exchange) -> None:
        await exchange.send(_LAST_CHUNK)

    return _faulty(tokens, after, end)


def stream_hang(tokens: Tokens, *, after: int) -> Behaviour:
    """Say nothing more until the client gives up."""

    async def hang(exchange: Exchange) -> None:
        await exchange.client_gone()
        exchange.close()

    return _faulty(tokens, after, hang)


def stream_then_raw(tokens: Tokens, *pieces: bytes, after: int) -> Behaviour:
    """Any bytes in the middle of the stream, as they are (also between two chunks of HTTP)."""

    async def write(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)
        await exchange.client_gone()
        exchange.close()

    return _faulty(tokens, after, write)


def stream_error_event(
    tokens: Tokens,
    *,
    after: int,
    error: Mapping[str, Any] | str = "scripted failure",
    name: str | None = None,
) -> Behaviour:
    """An error as an event in the middle of the stream, and the end of the body. ``error``: the
    object, or its message; ``name`` puts an ``event:`` line before it."""
    said = {"message": error, "type": "server_error"} if isinstance(error, str) else dict(error)
    line = f"event: {name}\n".encode() if name is not None else b""

    async def fail(exchange: Exchange) -> None:
        await exchange.send(_framed(line + event({"error": said})) + _LAST_CHUNK)

    return _faulty(tokens, after, fail)


def _faulty(tokens: Tokens, after: int, fault: Fault) -> Behaviour:
    """The opening, ``after`` tokens, and the fault."""

    async def behave(exchange: Exchange) -> None:
        parts = _parts(exchange, tokens, {})
        await exchange.send(head(200, None, _EVENTS))
        for one in (parts.opening, *parts.tokens[:after]):
            await exchange.send(_framed(one))
        await fault(exchange)

    return behave


def _parts(exchange: Exchange, tokens: Tokens, fields: Mapping[str, Any]) -> Told:
    said = tokens(exchange.request.messages) if callable(tokens) else tokens
    pieces = words(said) if isinstance(said, str) else said
    return told(pieces, **{"model": exchange.request.model, **fields})


def _asks_for_usage(exchange: Exchange) -> bool:
    options = exchange.request.body.get("stream_options") or {}
    return bool(options.get("include_usage"))


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
