"""Who looks at a page: the holder of a session, or this machine while no key exists."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from inhouse.core.clock import Clock
from inhouse.core.errors import Denied, Exhausted, Unauthenticated
from inhouse.dashboard.session import Sessions
from inhouse.gateway.access import Principal, check_local
from inhouse.gateway.keys import KeyRing

COOKIE: Final = "inhouse_session"
_MOST_FAILURES: Final = 10
_WITHIN_S: Final = 60.0
_MOST_PEERS: Final = 10_000


class Door:
    """Tells who looks at a page."""

    def __init__(self, keys: KeyRing, sessions: Sessions) -> None:
        self._keys = keys
        self.sessions = sessions

    @property
    def is_open(self) -> bool:
        """Whether no key exists, so that this machine needs none."""
        return not len(self._keys)

    async def find(self, request: Request, *, renews: bool) -> Principal:
        """Who is asking. ``renews``: the request prolongs the session. Raises Unauthenticated and,
        without keys, Denied for a foreign page."""
        if self.is_open:
            peer = None if request.client is None else request.client.host
            headers = request.headers
            check_local(peer, headers.get("host", ""), headers.get("origin"))
            return Principal(None)
        token = request.cookies.get(COOKIE)
        key = None
        if token:
            key = await run_in_threadpool(self.sessions.find, token, renews=renews)
        if key is None:
            raise Unauthenticated(
                "sign in with a key to see this page", hint="make a key with `inhouse keys create`"
            )
        return Principal(key)


async def while_allowed(
    pieces: AsyncGenerator[bytes], ask: Callable[[], Awaitable[object]]
) -> AsyncIterator[bytes]:
    """A stream for as long as whoever reads it may: ``ask``, which raises Denied when they may no
    more, is asked before every piece."""
    async with aclosing(pieces):
        async for piece in pieces:
            try:
                await ask()
            except Denied:
                return
            yield piece


class Failures:
    """Refuses more than 10 wrong keys a minute from one address, to keep the logs readable: a key
    of 256 random bits cannot be guessed."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._at: dict[str, deque[float]] = {}

    def admit(self, peer: str) -> None:
        """Raise Exhausted (code ``login-limit``) while an address has failed too often."""
        now = self._clock.monotonic()
        at = self._at.get(peer, deque())
        while at and at[0] <= now - _WITHIN_S:
            at.popleft()
        if len(at) >= _MOST_FAILURES:
            raise Exhausted(
                "too many keys from this address were wrong",
                code="login-limit",
                hint="wait a minute, then try once more",
                retry_after=at[0] + _WITHIN_S - now,
            )

    def add(self, peer: str) -> None:
        """Note a wrong key."""
        if len(self._at) >= _MOST_PEERS:
            self._at.clear()
        self._at.setdefault(peer, deque()).append(self._clock.monotonic())
