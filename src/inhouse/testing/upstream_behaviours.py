"""What a ScriptedUpstream may do with a request: answer, answer badly, or break HTTP.

Each function returns a behaviour, which is an ``async`` function of an Exchange; write your own for
what is missing here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from inhouse.testing.upstream_exchange import Behaviour, Exchange, head

Text = str | Callable[[list[dict[str, Any]]], str]
"""What to say: a text, or a function of the messages."""

_CHUNKED = {"transfer-encoding": "chunked"}


def completion(
    text: str | None,
    *,
    model: str = "scripted",
    finish_reason: str = "stop",
    input_tokens: int = 7,
    output_tokens: int = 3,
    **message: Any,
) -> dict[str, Any]:
    """A chat completion; further fields of the message (``refusal``, ...) by name."""
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text, **message},
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": input_tokens,
            "completion_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        },
    }


def answer(
    text: Text | None,
    *,
    delay_s: float = 0.0,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Behaviour:
    """Say ``text``; ``fields`` are those of ``completion``. ``delay_s`` is thinking time."""

    async def behave(exchange: Exchange) -> None:
        if delay_s:
            await asyncio.sleep(delay_s)
        await exchange.respond(200, _body(exchange, text, fields), headers)

    return behave


def json_body(value: Any, code: int = 200) -> Behaviour:
    """Answer with any JSON."""
    return raw_body(json.dumps(value).encode(), code)


def raw_body(body: bytes, code: int = 200) -> Behaviour:
    """Answer with any bytes as a well-framed body."""

    async def behave(exchange: Exchange) -> None:
        await exchange.respond(code, body)

    return behave


def status(
    code: int,
    message: str = "scripted failure",
    *,
    retry_after: float | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Behaviour:
    """Answer with an error in OpenAI's form. ``retry_after``: seconds, or an HTTP date."""
    extra = dict(headers or {})
    if retry_after is not None:
        extra["retry-after"] = str(retry_after)
    body = json.dumps({"error": {"message": message, "type": "scripted", "code": code}}).encode()

    async def behave(exchange: Exchange) -> None:
        await exchange.respond(code, body, extra)

    return behave


def hang() -> Behaviour:
    """Say nothing until the client gives up."""

    async def behave(exchange: Exchange) -> None:
        await exchange.client_gone()
        exchange.close()

    return behave


def reset() -> Behaviour:
    """Reset the connection instead of answering."""

    async def behave(exchange: Exchange) -> None:
        exchange.reset()

    return behave


def raw(*pieces: bytes, close: bool = True) -> Behaviour:
    """Write these bytes, one by one, and close (or wait for the client to)."""

    async def behave(exchange: Exchange) -> None:
        for piece in pieces:
            await exchange.send(piece)
            await asyncio.sleep(0)
        if not close:
            await exchange.client_gone()
        exchange.close()

    return behave


def close_before_head() -> Behaviour:
    """Close without a byte."""
    return raw()


def close_in_head() -> Behaviour:
    """Close in the middle of the head."""
    return raw(b"HTTP/1.1 200 OK\r\ncontent-le")


def garbage() -> Behaviour:
    """Bytes that are no HTTP."""
    return raw(b"\x16\x03\x01 220 mail.example ESMTP\r\n\r\n")


def half_a_body(text: Text = "half") -> Behaviour:
    """A right head, half of the body, and the end."""

    async def behave(exchange: Exchange) -> None:
        body = _body(exchange, text, {})
        await exchange.send(head(200, len(body)) + body[: len(body) // 2])
        exchange.close()

    return behave


def chunked(text: Text, *, size: int = 16) -> Behaviour:
    """The body in chunks of ``size`` bytes, with an extension and a trailer."""

    async def behave(exchange: Exchange) -> None:
        body = _body(exchange, text, {})
        await exchange.send(head(200, None, _CHUNKED))
        for start in range(0, len(body), size):
            piece = body[start : start + size]
            await exchange.send(b"%x;part=1\r\n%b\r\n" % (len(piece), piece))
        await exchange.send(b"0\r\nx-checksum: none\r\n\r\n")

    return behave


def bad_chunks() -> Behaviour:
    """A chunk whose length is no number."""
    return raw(head(200, None, _CHUNKED), b"5\r\nhello\r\nzz\r\n")


def interim(text: Text, *codes: int) -> Behaviour:
    """Interim answers (100, 102, 103 unless given) before the real one."""

    async def behave(exchange: Exchange) -> None:
        for code in codes or (100, 102, 103):
            await exchange.send(b"HTTP/1.1 %d Wait\r\nlink: </x>\r\n\r\n" % code)
        await exchange.respond(200, _body(exchange, text, {}))

    return behave


def answer_then_close(text: Text, *, said: bool = False) -> Behaviour:
    """Answer, then close the kept-alive connection; ``said``: with ``connection: close``."""

    async def behave(exchange: Exchange) -> None:
        headers = {"connection": "close"} if said else None
        await exchange.respond(200, _body(exchange, text, {}), headers)
        exchange.close()

    return behave


def until_close(text: Text) -> Behaviour:
    """A body that ends with the connection, as in HTTP/1.0."""

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head(200, None) + _body(exchange, text, {}))
        exchange.close()

    return behave


def huge(size: int) -> Behaviour:
    """A right answer of about ``size`` bytes."""

    async def behave(exchange: Exchange) -> None:
        await exchange.respond(200, _body(exchange, "x" * size, {}))

    return behave


def slowly(text: Text, *, pause_s: float = 0.0, size: int = 1) -> Behaviour:
    """A right answer, head and body, ``size`` bytes at a time."""

    async def behave(exchange: Exchange) -> None:
        body = _body(exchange, text, {})
        whole = head(200, len(body)) + body
        for start in range(0, len(whole), size):
            await exchange.send(whole[start : start + size])
            await asyncio.sleep(pause_s)

    return behave


def in_turn(*behaviours: Behaviour | str) -> Behaviour:
    """The n-th request for a model gets the n-th behaviour; the last one repeats."""
    ready = [answer(one) if isinstance(one, str) else one for one in behaviours]

    def behave(exchange: Exchange) -> Awaitable[None]:
        return ready[min(exchange.turn, len(ready)) - 1](exchange)

    return behave


def _body(exchange: Exchange, text: Text | None, fields: Mapping[str, Any]) -> bytes:
    said = text(exchange.request.messages) if callable(text) else text
    return json.dumps(completion(said, **{"model": exchange.request.model, **fields})).encode()
