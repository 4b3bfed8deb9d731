"""A chat of an upstream under way: from the pieces of a body to whole events for the caller."""

from __future__ import annotations

import asyncio
from typing import Final, Self

from inhouse.core.errors import BackendError
from inhouse.inference.base import Reply, ReplyStream
from inhouse.inference.http.pool import MAX_RESPONSE_BYTES
from inhouse.inference.http.stream import HttpStream
from inhouse.inference.upstream_chat import chunks_of, read_completion
from inhouse.inference.upstream_events import ChatEvents
from inhouse.inference.wire import Wire, decode

LINGER_S: Final = 1.0
"""Time for an answer to end after ``[DONE]``, so that its connection can be used again."""


async def open_stream(
    wire: Wire, answer: HttpStream, *, model: str, hide_usage: bool
) -> ReplyStream:
    """The stream in ``answer``, with its first token; a whole completion becomes one. Raises
    BackendError until then, and closes the answer then."""
    stream = UpstreamStream(wire, answer, model=model, hide_usage=hide_usage)
    try:
        await stream.begin()
    except BaseException:
        await stream.close()
        raise
    return stream


class UpstreamStream:
    """The ``ReplyStream`` of an upstream. ``begin`` comes first."""

    def __init__(self, wire: Wire, answer: HttpStream, *, model: str, hide_usage: bool) -> None:
        self._wire = wire
        self._answer = answer
        self._model = model
        self._events = ChatEvents(wire, hide_usage=hide_usage)
        self._first = b""
        self._over = False

    async def begin(self) -> None:
        """Wait for the first token."""
        kind = self._answer.headers.get("content-type", "")
        if kind.lower().startswith("application/json"):
            self._first = self._events.feed(await self._completion())
            self._over = True
            return
        held = []
        while not self._events.started:
            if self._events.error is not None:
                raise self._events.error
            held.append(await self._more())
        self._first = b"".join(held)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        events = self._events
        if self._first:
            first, self._first = self._first, b""
            return first
        while not (self._over or events.done or events.error):
            if piece := await self._more():
                return piece
        if events.error is not None:
            await self.close()
            raise events.error
        await self._linger()
        raise StopAsyncIteration

    def reply(self) -> Reply:
        """What was said so far. ``body`` holds the message when there are tool calls in it."""
        return self._events.reply(self._model)

    async def close(self) -> None:
        """Give the connection up unless the answer is complete. May be called twice."""
        self._answer.close()

    async def _more(self) -> bytes:
        """The next whole events, or b"". Sets the events' error, or that it is over."""
        try:
            piece = await anext(self._answer)
        except StopAsyncIteration:
            self._over = True
            return self._events.finish()
        except BackendError as error:
            self._events.error = error
            return b""
        return self._events.feed(piece)

    async def _completion(self) -> bytes:
        """A whole completion, as the events of a stream. Raises BackendError when it is none."""
        raw = await self._answer.read(MAX_RESPONSE_BYTES)
        body = decode(raw)
        if body is None or read_completion(raw) is None:
            raise self._wire.error(
                "upstream-garbage", "sent no chat completion", self._wire.detail(raw)
            )
        return chunks_of(body)

    async def _linger(self) -> None:
        """The caller has everything; what is left of the answer is its end."""
        if not self._answer.ended:
            try:
                async with asyncio.timeout(LINGER_S):
                    async for _ in self._answer:
                        pass
            except (BackendError, TimeoutError):
                self._answer.close()
