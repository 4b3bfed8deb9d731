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
_LOOKS: Final = 8
_DONE: Final = DONE.strip()
_TAIL: Final = len(DONE) + 4


class ChatStream:
    """The answer to a streamed chat.

    Iterate ``pieces`` once: server-sent events as bytes. What goes wrong after the first token
    becomes one event ``{"error": ...}``, the last one. Closing the iteration early gives the
    upstream's connection up. ``ended`` is told how it ended (None: complete) before the last piece
    is given, so that a durable record stands before the caller knows that it has everything.
    ``idle_s``: the longest silence.
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
        idle_s: float = IDLE_S,
    ) -> None:
        self._idle_s = idle_s
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
            async for piece in _lively(self._reply, self._idle_s):
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


async def _lively(reply: ReplyStream, idle_s: float) -> AsyncGenerator[bytes, None]:
    """The pieces of a stream. Raises BackendError (code ``timeout``) after a long silence; the time
    that the caller takes to read does not count."""
    silence = _Silence(idle_s)
    pieces = aiter(reply)
    try:
        while True:
            silence.begin()
            piece = await anext(pieces, None)
            silence.end()
            if piece is None:
                return
            yield piece
    except asyncio.CancelledError:
        if silence.was_too_long():
            raise BackendError(f"the stream was silent for {idle_s:g} s", code="timeout") from None
        raise
    finally:
        silence.stop()


class _Silence:
    """Cancels this task when one wait of it is too long: one timer for all waits, because one for
    each would be the dearest part of passing a piece on."""

    def __init__(self, idle_s: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a stream is read in a task")
        self._task = task
        self._cancelled_before = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._since: float | None = None
        self._has_fired = False
        self._timer = self._loop.call_later(idle_s, self._look)

    def begin(self) -> None:
        self._since = self._loop.time()

    def end(self) -> None:
        self._since = None

    def stop(self) -> None:
        self._timer.cancel()

    def was_too_long(self) -> bool:
        """Whether it has cancelled the task, and nobody else has."""
        return self._has_fired and self._task.uncancel() <= self._cancelled_before

    def _look(self) -> None:
        waited = 0.0 if self._since is None else self._loop.time() - self._since
        if waited >= self._idle_s:
            self._has_fired = True
            self._task.cancel()
            return
        again = self._idle_s - waited if waited else self._idle_s / _LOOKS
        self._timer = self._loop.call_later(again, self._look)


def _is_last(piece: bytes) -> bool:
    return piece[-_TAIL:].rstrip().endswith(_DONE)


def error_event(error: InhouseError) -> bytes:
    """The event that tells a caller that the stream broke off, in OpenAI's form."""
    body = {"message": error.message, "type": "server_error", "code": error.code, "param": None}
    return event({"error": body})
