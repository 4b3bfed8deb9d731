"""A caller that hangs up takes its call along."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Final, TypeVar

from inhouse.api.body import Gone, Scope

T = TypeVar("T")
HANG_UP: Final = "inhouse.hang_up"
"""Where a request's scope holds what ``api.protocol`` calls when the client is gone."""


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

    scope[HANG_UP] = hang_up
    try:
        return await work
    except asyncio.CancelledError:
        if gone and caller.uncancel() == 0:
            raise Gone from None
        raise
    finally:
        del scope[HANG_UP]
