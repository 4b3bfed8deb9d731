"""A caller that hangs up takes its call along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from inhouse.api.body import Gone, Receive

T = TypeVar("T")


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """Await ``work``, cancelling it when the client disconnects. Raises Gone then.

    The body of the request has been read, so ``receive`` has only the disconnect left to tell. It
    costs one task: the watcher cancels the task that awaits, and only its own cancellation is
    turned into Gone; one from elsewhere (a shutdown) passes through.
    """
    caller = asyncio.current_task()
    if caller is None:
        raise RuntimeError("needs a running task")
    gone = False

    async def watch() -> None:
        nonlocal gone
        while (await receive())["type"] != "http.disconnect":
            pass
        gone = True
        caller.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await work
    except asyncio.CancelledError:
        if gone and caller.uncancel() == 0:
            raise Gone from None
        raise
    finally:
        watcher.cancel()
