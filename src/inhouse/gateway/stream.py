"""A chat answered token by token: passed on as it comes, recorded when it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Final

from inhouse.core.errors import BackendError, InhouseError
from inhouse.gateway.chat import DONE, event
from inhouse.inference.base import Reply, ReplyStream

IDLE_S: Final = 60.0
"""Longest silence within a stream."""
_DONE: Final = DONE.strip()
_TAIL: Final = len(DONE) + 4


class ChatStream:
    """The answer to a streamed chat.

    Iterate ``pieces`` once: server-sent events as bytes. What goes wrong after the first token
    becomes one event ``{"error": ...}``, the last one. Closing the iteration early gives the
    upstream's connection up. ``ended`` is told how it ended (None: complete) before the last piece
    is given, so that a durable record stands before the caller knows that it has everything.
    """

    def __init__(
        self,
        reply: ReplyStream,
        ended: Callable[[BaseException | None], Awaitable[None]],
        *,
        interaction_id: str,
        model_version: str,
        arm: str,
        warnings: tuple[str, ...],
    ) -> None:
        self._reply = reply
        self._ended = ended
        self.interaction_id = interaction_id
        self.model_version = model_version
        self.arm = arm
        self.warnings = warnings

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """What is sent to the caller."""
        told = False
        try:
            async for piece in _lively(self._reply):
                if _is_last(piece):
                    told = True
                    await self._ended(None)
                yield piece
            if not told:
                told = True
                await self._ended(None)
        except InhouseError as error:
            if not told:
                await self._ended(error)
            yield error_event(error)
        except (GeneratorExit, asyncio.CancelledError) as error:
            if not told:
                await self._ended(error)
            raise
        finally:
            await self._reply.close()


class WholeReply:
    """A reply that came in one piece, as a stream."""

    def __init__(self, reply: Reply, events: list[bytes]) -> None:
        self._reply = reply
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for one in self._events:
            yield one

    def reply(self) -> Reply:
        return self._reply

    async def close(self) -> None:
        self._events = []


async def _lively(reply: ReplyStream) -> AsyncGenerator[bytes, None]:
    """The pieces of a stream. Raises BackendError (code ``timeout``) after a long silence; the time
    that the caller takes to read does not count."""
    pieces = aiter(reply)
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                piece = await anext(pieces, None)
        except TimeoutError:
            raise BackendError(f"the stream was silent for {IDLE_S:g} s", code="timeout") from None
        if piece is None:
            return
        yield piece


def _is_last(piece: bytes) -> bool:
    return piece[-_TAIL:].rstrip().endswith(_DONE)


def error_event(error: InhouseError) -> bytes:
    """The event that tells a caller that the stream broke off, in OpenAI's form."""
    body = {"message": error.message, "type": "server_error", "code": error.code, "param": None}
    return event({"error": body})
