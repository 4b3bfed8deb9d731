"""A caller that hangs up takes its call along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from inhouse.api.body import Gone, Scope

T = TypeVar("T")
LONGEST_HEAD: Final = 128 * 1024
_HANG_UP: Final = "inhouse.hang_up"


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol, which tells a call at once that its caller is gone. Nothing has to watch
    the connection for that, and a call costs no second task."""

    _head_size: int | None = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._head_size is not None:
            self._head_size += len(data)
            if self._head_size > LONGEST_HEAD:
                self.send_400_response(f"the head is over {LONGEST_HEAD // 1024} KiB")

    def on_message_begin(self) -> None:
        self._head_size = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_size = None
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            hang_up = cycle.scope.get(_HANG_UP)
            if callable(hang_up):
                hang_up()


async def unless_gone(scope: Scope, work: Awaitable[T]) -> T:
    """Await ``work``, cancelling it when the client disconnects. Raises Gone then.

    Only its own cancellation is turned into Gone; one from elsewhere (a shutdown) passes through.
    """
    caller = asyncio.current_task()
    if caller is None:
        raise RuntimeError("needs a running task")
    gone = False

    def hang_up() -> None:
        nonlocal gone
        gone = True
        caller.cancel()

    scope[_HANG_UP] = hang_up
    try:
        return await work
    except asyncio.CancelledError:
        if gone and caller.uncancel() == 0:
            raise Gone from None
        raise
    finally:
        del scope[_HANG_UP]
