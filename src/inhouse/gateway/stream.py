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
        pieces = aiter(self._reply)
        silence = _Silence(self._idle_s)
        try:
            while True:
                try:
                    silence.began = silence.time()
                    piece = await anext(pieces)
                except StopAsyncIteration:
                    break
                except asyncio.CancelledError:
                    silence.check()
                    raise
                finally:
                    silence.began = None
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
            silence.stop()
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


class _Silence:
    """Cancels this task when one wait of it is too long: one timer for all waits, because one for
    each would be the dearest part of passing a piece on.

    ``began`` is the ``time`` when the wait began that is under way; None between two, because the
    time that the caller takes to read does not count.
    """

    def __init__(self, idle_s: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("a stream is read in a task")
        self._task = task
        self._cancelled_before = task.cancelling()
        self._loop = asyncio.get_running_loop()
        self._idle_s = idle_s
        self._has_fired = False
        self._timer = self._loop.call_later(idle_s, self._look)
        self.began: float | None = None
        self.time = self._loop.time

    def stop(self) -> None:
        self._timer.cancel()

    def check(self) -> None:
        """Raise BackendError (code ``timeout``) if it, and nobody else, has cancelled the task."""
        if self._has_fired and self._task.uncancel() <= self._cancelled_before:
            raise BackendError(
                f"the stream was silent for {self._idle_s:g} s", code="timeout"
            ) from None

    def _look(self) -> None:
        waited = 0.0 if self.began is None else self.time() - self.began
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
