"""Which connection takes a request: the one that was used last, a new one, or the next to be free.

Connections belong to the event loop that made them, so a pool keeps one shelf of them per running
loop (the gateway's, and that of each ``asyncio.run`` of a job thread) and clears a shelf when its
loop ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping

from inhouse.core.errors import BackendError
from inhouse.inference.http.address import Address
from inhouse.inference.http.connection import Connection, HttpResponse, Whole
from inhouse.inference.http.stream import HttpStream

MAX_RESPONSE_BYTES = 100_000_000
IDLE_S = 15.0


class HttpPool:
    """Keep-alive connections to one server, over TLS when ``base_url`` is https.

    ``max_connections`` holds per event loop; more requests wait for one to be free. ``idle_s``: how
    long an unused connection is kept. ``max_response_bytes`` bounds one answer as read from the
    wire. ``verify``: the trust to use instead of the machine's own. Raises as ``Address``
    does.
    """

    def __init__(
        self,
        base_url: str,
        *,
        max_connections: int = 256,
        idle_s: float = IDLE_S,
        max_response_bytes: int = MAX_RESPONSE_BYTES,
        verify: ssl.SSLContext | None = None,
    ) -> None:
        self.address = Address(base_url, verify=verify)
        self._max_connections = max_connections
        self._idle_s = idle_s
        self._max_response_bytes = max_response_bytes
        self._shelves: dict[asyncio.AbstractEventLoop, _Shelf] = {}
        self._closed = False

    async def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse:
        """Send one request (not HEAD) and wait for the whole answer, whatever its status.

        ``path`` follows the path of ``base_url``. A request that met a connection which the server
        had given up is sent once more on a new one. Cancelling closes the connection. Raises
        BackendError: ``upstream-connect`` (retryable), ``upstream-tls``, ``upstream-closed``,
        ``upstream-garbage``, ``upstream-too-large``; Invalid for a header that cannot be sent.
        """
        wire = self.address.encode(method, path, headers, body)
        loop = asyncio.get_running_loop()
        shelf = self._shelves.get(loop) or await self._open_shelf(loop)
        connection = await shelf.take()
        try:
            try:
                return await _ask(loop, connection, wire)
            except BackendError:
                if not connection.stale:
                    raise
            connection = await shelf.connect()
            return await _ask(loop, connection, wire)
        finally:
            shelf.put_back(connection)

    async def stream(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> HttpStream:
        """Send one request and wait for the head of the answer, whatever its status.

        The body is iterated; ``close`` is for those who stop early, and the iteration raises what
        ``request`` raises. A second try, cancelling and errors are as with ``request``.
        """
        wire = self.address.encode(method, path, headers, body)
        loop = asyncio.get_running_loop()
        shelf = self._shelves.get(loop) or await self._open_shelf(loop)
        answer = HttpStream(loop, await shelf.take(), shelf.put_back)
        try:
            try:
                return await answer.begin(wire)
            except BackendError:
                if not answer.connection.stale:
                    raise
            answer = HttpStream(loop, await shelf.connect(), shelf.put_back)
            return await answer.begin(wire)
        except BaseException:
            answer.close()
            raise

    async def close(self) -> None:
        """Close the idle connections and keep none from now on. May be called twice; requests under
        way finish, later ones get a connection of their own."""
        self._closed = True
        here = asyncio.get_running_loop()
        for loop, shelf in list(self._shelves.items()):
            if loop is here:
                shelf.clear()
            else:
                with contextlib.suppress(RuntimeError):  # that loop has ended
                    loop.call_soon_threadsafe(shelf.clear)
        await asyncio.sleep(0)  # the loop closes the sockets now

    async def _open_shelf(self, loop: asyncio.AbstractEventLoop) -> _Shelf:
        for ended in [other for other in list(self._shelves) if other.is_closed()]:
            self._shelves.pop(ended, None)
        shelf = _Shelf(loop, self._connect, self._max_connections, self._idle_s)
        shelf.keeps = not self._closed
        self._shelves[loop] = shelf
        shelf.watch = self._until_loop_ends(loop, shelf)
        await anext(shelf.watch)
        return shelf

    async def _until_loop_ends(
        self, loop: asyncio.AbstractEventLoop, shelf: _Shelf
    ) -> AsyncGenerator[None, None]:
        """A loop closes its asynchronous generators before it ends: this one clears the shelf."""
        try:
            yield
        finally:
            self._shelves.pop(loop, None)
            shelf.clear()
            await asyncio.sleep(0)  # the loop closes the sockets now

    def _connect(self, on_lost: Callable[[Connection], None]) -> Awaitable[Connection]:
        return self.address.connect(self._max_response_bytes, on_lost)


def _ask(
    loop: asyncio.AbstractEventLoop, connection: Connection, wire: bytes
) -> asyncio.Future[HttpResponse]:
    answer: asyncio.Future[HttpResponse] = loop.create_future()
    connection.send(wire, Whole(answer))
    return answer


class _Shelf:
    """The connections of one loop. Whoever takes one puts it back, also after a failure.

    ``_open`` counts connections that are idle, taken or being made. A waiter is handed an idle
    connection, or None: the right to make one.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        connect: Callable[[Callable[[Connection], None]], Awaitable[Connection]],
        max_connections: int,
        idle_s: float,
    ) -> None:
        self._loop = loop
        self._make = connect
        self._max = max_connections
        self._idle_s = idle_s
        self._idle: list[Connection] = []
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._open = 0
        self._timer: asyncio.TimerHandle | None = None
        self.keeps = True
        self.watch: AsyncGenerator[None, None] | None = None

    async def take(self) -> Connection:
        if self._idle:
            return self._idle.pop()
        if self._open < self._max:
            self._open += 1
        elif (connection := await self._wait()) is not None:
            return connection
        try:
            return await self.connect()
        except BaseException:
            self._pass_on(None)
            raise

    async def connect(self) -> Connection:
        """A new connection in the place of one that is counted already."""
        return await self._make(self._lost)

    def put_back(self, connection: Connection) -> None:
        if connection.reusable and self.keeps:
            connection.idle_since = self._loop.time()
            self._pass_on(connection)
        else:
            connection.abort()
            self._pass_on(None)

    def clear(self) -> None:
        """Close the idle ones; keep none from now on."""
        self.keeps = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._drop(len(self._idle))

    async def _wait(self) -> Connection | None:
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():
                self._pass_on(waiter.result())
            raise

    def _pass_on(self, connection: Connection | None) -> None:
        """Give a connection, or the right to make one, to the first who waits."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return
        if connection is None:
            self._open -= 1
            return
        self._idle.append(connection)
        if self._timer is None:
            self._timer = self._loop.call_later(self._idle_s, self._expire)

    def _lost(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)
            self._open -= 1

    def _expire(self) -> None:
        """Close what nobody used for ``idle_s``; the oldest lie at the front."""
        deadline = self._loop.time() - self._idle_s
        old = sum(1 for connection in self._idle if connection.idle_since <= deadline)
        self._drop(old)
        self._timer = None
        if self._idle:
            again = self._idle[0].idle_since + self._idle_s
            self._timer = self._loop.call_at(again, self._expire)

    def _drop(self, count: int) -> None:
        dropped, self._idle = self._idle[:count], self._idle[count:]
        self._open -= len(dropped)
        for connection in dropped:
            connection.abort()
