"""An answer whose body is used while it comes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Self

from inhouse.core.errors import BackendError
from inhouse.inference.http.connection import Connection

WAITING_BYTES = 256 * 1024
"""When more of a body waits to be taken, no more of it is read."""


class HttpStream:
    """Status, headers and the body in pieces: ``async for piece in answer``, once, by one task.

    Whatever came since the last piece is one piece. The iteration raises BackendError when the
    answer breaks off; what came before is given first. The connection goes back to its pool when
    the answer is complete, and is closed when the iteration fails or is cancelled, or by ``close``.
    Header names are lower-case.
    """

    __slots__ = (
        "_complete",
        "_error",
        "_give_back",
        "_held",
        "_loop",
        "_paused",
        "_pieces",
        "_size",
        "_waiter",
        "connection",
        "headers",
        "status",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connection: Connection,
        give_back: Callable[[Connection], None],
    ) -> None:
        self.connection = connection
        self.status = 0
        self.headers: dict[str, str] = {}
        self._loop = loop
        self._give_back = give_back
        self._held = True
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._complete = False
        self._error: BackendError | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def ended(self) -> bool:
        """Whether the whole body has come; some of it may still wait to be taken."""
        return self._complete

    async def begin(self, request: bytes) -> Self:
        """Send the request and wait for the head."""
        self.connection.send(request, self)
        while not self.status:
            if self._error is not None:
                raise self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._pieces:
            if self._complete:
                self._release()
                raise StopAsyncIteration
            if self._error is not None:
                self.close()
                raise self._error
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            except asyncio.CancelledError:
                self.close()
                raise
            finally:
                self._waiter = None
        return self._take()

    async def read(self, limit: int) -> bytes:
        """The rest of the body, or its first ``limit`` bytes; the connection is closed then."""
        body = bytearray()
        async for piece in self:
            body += piece
            if len(body) > limit:
                self.close()
                break
        return bytes(body[:limit])

    def close(self) -> None:
        """Give the connection up unless the answer is complete. May be called twice."""
        if not self._complete:
            if self._error is None:
                self._error = BackendError("the stream was closed", code="upstream-closed")
            self.connection.abort()
        self._pieces.clear()
        self._release()

    # What the connection calls.

    def head(self, status: int, headers: dict[str, str]) -> None:
        self.status = status
        self.headers = headers
        self._wake()

    def piece(self, data: bytes) -> None:
        self._pieces.append(data)
        self._size += len(data)
        if self._size > WAITING_BYTES and not self._paused:
            self._paused = True
            self.connection.pause()
        if self._waiter is not None:
            self._wake()

    def complete(self) -> None:
        self._complete = True
        if self._paused:
            self._paused = False
            self.connection.resume()
        self._wake()
        self._loop.call_soon(self._release)  # bytes after the end are seen by then

    def failed(self, error: BackendError) -> None:
        self._error = error
        self._wake()

    def _take(self) -> bytes:
        pieces = self._pieces
        if len(pieces) == 1:
            data = pieces.popleft()
        else:
            data = b"".join(pieces)
            pieces.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self.connection.resume()
        return data

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _release(self) -> None:
        if self._held:
            self._held = False
            self._give_back(self.connection)
