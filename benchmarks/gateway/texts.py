"""What is asked and what the mock answers, both known from a request's number alone.

The number stands in the prompt (``[n=0000000042]``) and comes back in the answer, so that an answer
which belongs to another request is noticed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec

OWN_MODELS: Final = ("a", "b")
PEER_MODEL: Final = "peer"
"""Peers ask for another model, so that what they still do in the end is not counted as ours."""
MODELS: Final = (*OWN_MODELS, PEER_MODEL)
LEAST_PROMPT: Final = 1024
MOST_PROMPT: Final = 16 * 1024
LEAST_TOKENS: Final = 30
MOST_TOKENS: Final = 300
LEAST_CHUNKS: Final = 16
MOST_CHUNKS: Final = 64
LONGEST_PAUSE_MS: Final = 6
CREATED: Final = 1_700_000_000
_GOLDEN: Final = 2_654_435_761
_WORDS: Final = ("the", "market", "rose", "while", "makers", "of", "steel", "lost", "ground")
_encode = msgspec.json.encode


def spread(number: int, salt: int, least: int, most: int) -> int:
    """A value from ``least`` to ``most``, the same for the same number."""
    return least + (((number + salt) * _GOLDEN) % 4_294_967_296 >> 8) % (most - least + 1)


def tokens_of(number: int) -> int:
    """How many words the answer to a request has."""
    return spread(number, 1, LEAST_TOKENS, MOST_TOKENS)


def pauses_ms(number: int) -> list[int]:
    """The pause before each chunk of the stream that answers a request."""
    count = spread(number, 2, LEAST_CHUNKS, MOST_CHUNKS)
    return [1 + (number + 7 * place) % LONGEST_PAUSE_MS for place in range(count)]


@lru_cache(maxsize=MOST_TOKENS)
def _after_number(tokens: int) -> bytes:
    words = " ".join(_WORDS[place % len(_WORDS)] for place in range(tokens))
    usage = {"prompt_tokens": 100, "completion_tokens": tokens, "total_tokens": 100 + tokens}
    return (
        b"] " + words.encode() + b'"},"logprobs":null,"finish_reason":"stop"}],"usage":'
        + _encode(usage) + b"}"
    )  # fmt: skip


def completion(model: bytes, number: int) -> bytes:
    """The chat completion that answers a request."""
    return (
        b'{"id":"chatcmpl-%010d","object":"chat.completion","created":1700000000,"model":"%b",'
        b'"choices":[{"index":0,"message":{"role":"assistant","content":"[n=%010d%b'
    ) % (number, model, number, _after_number(tokens_of(number)))


def stream_events(model: str, number: int, *, usage: bool = True) -> list[bytes]:
    """The server-sent events that answer a request, the last of them ``[DONE]``."""
    words = [f"{_WORDS[place % len(_WORDS)]} " for place in range(len(pauses_ms(number)))]
    deltas: list[dict[str, Any]] = [{"content": word} for word in words]
    deltas[0] = {"role": "assistant", "content": f"[n={number:010d}] "}
    said = [_event(model, number, {"delta": delta, "finish_reason": None}) for delta in deltas]
    said.append(_event(model, number, {"delta": {}, "finish_reason": "stop"}))
    if usage:
        counted = {"prompt_tokens": 100, "completion_tokens": len(words)}
        total = {**counted, "total_tokens": 100 + len(words)}
        said.append(_event(model, number, None, {"usage": total}))
    return [*said, b"data: [DONE]\n\n"]


def _event(
    model: str,
    number: int,
    choice: Mapping[str, Any] | None,
    more: Mapping[str, Any] | None = None,
) -> bytes:
    chunk = {
        "id": f"chatcmpl-{number:010d}",
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": model,
        "choices": [] if choice is None else [{"index": 0, **choice}],
        **(more or {}),
    }
    return b"data: " + _encode(chunk) + b"\n\n"


def _story() -> bytes:
    rng = random.Random(20_26)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(2_000)]
    return " ".join(rng.choices(words, k=16_000)).encode()[: 4 * MOST_PROMPT]


_STORY: Final = _story()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """How one target is asked. ``rich``: with ``user``, ``metadata`` and so a unit and tags.
    ``prompt_bytes`` fixes the size of every prompt."""

    host: str
    port: int
    path: str
    model: str
    headers: Mapping[str, str] = field(default_factory=dict)
    rich: bool = False
    stream: bool = False
    prompt_bytes: int | None = None

    def request(self, number: int) -> bytes:
        """The bytes of request ``number``, head and body."""
        size = self.prompt_bytes or spread(number, 3, LEAST_PROMPT, MOST_PROMPT)
        start = spread(number, 4, 0, len(_STORY) - MOST_PROMPT)
        body = b"%b%010d] %b%b" % (
            _before(self.model),
            number,
            _STORY[start : start + size],
            _after(self.stream),
        )
        if self.rich:
            body = b'%b,"user":"u%d","metadata":{"app":"bench","part":"%d"}}' % (
                body[:-1],
                number,
                number % 7,
            )
        return b"%b%d\r\n\r\n%b" % (self._head(), len(body), body)

    def mark(self, number: int) -> bytes:
        """What the answer to request ``number`` holds, and no other."""
        return b"[n=%010d]" % number

    def _head(self) -> bytes:
        return head_of(self.host, self.port, self.path, tuple(self.headers.items()))


@lru_cache
def head_of(host: str, port: int, path: str, headers: tuple[tuple[str, str], ...]) -> bytes:
    """The head of a request up to the value of its last header, content-length."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers)
    return (
        f"POST {path} HTTP/1.1\r\nhost: {host}:{port}\r\ncontent-type: application/json\r\n"
        f"{more}content-length: "
    ).encode()


@lru_cache
def _before(model: str) -> bytes:
    return b'{"model":%b,"messages":[{"role":"user","content":"[n=' % _encode(model)


@lru_cache
def _after(stream: bool) -> bytes:
    return b'"}],"stream":true,"stream_options":{"include_usage":true}}' if stream else b'"}]}'
