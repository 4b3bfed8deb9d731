"""The same ``Idempotency-Key`` twice is one call.

One row per key is claimed before the call runs and holds its response afterwards, so that one rule
serves threads, processes and repeats alike: who has the claim runs, everybody else waits for the
response. A call that fails gives its claim back, a claim of a dead process lapses.

A response may hold what the settings keep out of the database. So it is stored sealed: only who
brings the same request again can read it.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select, update

from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict, Invalid
from inhouse.core.hashing import canonical_json, digest_of
from inhouse.core.ids import new_id
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.unit import Database, WriteUnit
from inhouse.gateway.limits.limiter import LONGEST_WAIT_S
from inhouse.gateway.tables import IdempotentCall
from inhouse.interactions.record import CONFIRM_S

REMEMBERED: Final = timedelta(days=1)
_FORGET_EVERY: Final = 1_000
LONGEST_KEY: Final = 255
SLACK_S: Final = LONGEST_WAIT_S + CONFIRM_S + 5.0
"""What a call may take beside its models: the wait for a limit, its commit, and some more."""
_POLL_S: Final = 0.05
_table = table_of(IdempotentCall)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatableCall:
    """A call with its ``Idempotency-Key``.

    ``scope`` is the id of the caller's key, "" without one; ``request`` all that makes it this call
    (any JSON value); ``timeout_s`` the longest that it takes.
    """

    scope: str
    key: str
    request: Any
    timeout_s: float


class Idempotency:
    """Runs each repeatable call once. A key is remembered for at least a day; what is older is
    removed at every 1,000th call."""

    def __init__(self, database: Database, *, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._claims = itertools.count()

    async def run(self, call: RepeatableCall, execute: Callable[[], Awaitable[str]]) -> str:
        """The response of the one execution: of this one, of one under way, or of an earlier one.

        ``execute`` returns the response as text; what it raises is raised here and not stored, so
        that a repeat tries again. Raises Conflict (code ``idempotency-mismatch``) when the key was
        used for another request, Invalid (code ``idempotency-key``) when it is empty or longer than
        255 characters.
        """
        if not 1 <= len(call.key) <= LONGEST_KEY or "\0" in call.key:
            raise Invalid(
                f"an idempotency key has 1 to {LONGEST_KEY} characters", code="idempotency-key"
            )
        digest, claim = digest_of(call.request), new_id()
        while True:
            response, is_ours = await asyncio.to_thread(self._claim, call, digest, claim)
            if response is not None:
                return response
            if is_ours:
                return await self._execute(call, claim, execute)
            await asyncio.sleep(_POLL_S)

    async def _execute(
        self, call: RepeatableCall, claim: str, execute: Callable[[], Awaitable[str]]
    ) -> str:
        try:
            response = await execute()
        except BaseException:
            await asyncio.to_thread(self._release, call, claim)
            raise
        await asyncio.to_thread(self._store, call, claim, response)
        return response

    def _claim(self, call: RepeatableCall, digest: str, claim: str) -> tuple[str | None, bool]:
        """The response if there is one, and whether the claim is now ours."""
        now = self._clock.now()
        row = {
            "scope": call.scope,
            "key": call.key,
            "digest": digest,
            "claim": claim,
            "created_at": now,
            "expires_at": now + timedelta(seconds=call.timeout_s + SLACK_S),
        }
        with self._database.write() as unit:
            if next(self._claims) % _FORGET_EVERY == 0:
                forget(unit, now - REMEMBERED)
            unit.execute(insert_ignore(unit, IdempotentCall), row)
            lapsed = and_(_table.c.response.is_(None), _table.c.expires_at < now)
            takeable = or_(_table.c.claim == claim, and_(lapsed, _table.c.digest == digest))
            taken = unit.execute(update(_table).where(_at(call), takeable).values(**row))
            found = unit.execute(select(_table).where(_at(call))).one_or_none()
        if found is None:  # it was given back just now
            return None, False
        if found.digest != digest:
            raise Conflict(
                "this idempotency key was used for another request",
                code="idempotency-mismatch",
                hint="take a new key for a new request",
            )
        if found.response is None:
            return None, taken.rowcount == 1
        return _sealed(call, found.claim, base64.b64decode(found.response)).decode(), False

    def _store(self, call: RepeatableCall, claim: str, response: str) -> None:
        with self._database.write() as unit:
            held = and_(_at(call), _table.c.claim == claim)
            sealed = base64.b64encode(_sealed(call, claim, response.encode())).decode()
            unit.execute(update(_table).where(held).values(response=sealed))

    def _release(self, call: RepeatableCall, claim: str) -> None:
        with self._database.write() as unit:
            unit.execute(delete(_table).where(_at(call), _table.c.claim == claim))


def forget(unit: WriteUnit, before: datetime) -> int:
    """Remove calls that came in before a time; their keys may be used anew. Returns how many."""
    return unit.execute(delete(_table).where(_table.c.created_at < before)).rowcount


def forget_during(unit: WriteUnit, calls: Iterable[tuple[str, datetime]]) -> int:
    """Remove what is kept of calls that may be these: (scope, when the call began). Which answer is
    whose cannot be told, since they are sealed, so those of other calls of the same key at the same
    moment go as well. Returns how many."""
    oldest = unit.execute(select(func.min(_table.c.created_at))).scalar()
    gone = 0
    for scope, at in calls:
        if oldest is not None and at >= oldest:
            then = and_(_table.c.created_at <= at, _table.c.expires_at >= at)
            found = delete(_table).where(_table.c.scope == scope, then)
            gone += unit.execute(found).rowcount
    return gone


def _sealed(call: RepeatableCall, claim: str, text: bytes) -> bytes:
    """The text under a pad that the request and its claim give; the same once more opens it."""
    secret = canonical_json([claim, call.scope, call.key, call.request])
    pad = hashlib.shake_256(b"inhouse idempotency" + secret).digest(len(text))
    mixed = int.from_bytes(text, "big") ^ int.from_bytes(pad, "big")
    return mixed.to_bytes(len(text), "big")


def _at(call: RepeatableCall) -> ColumnElement[bool]:
    return and_(_table.c.scope == call.scope, _table.c.key == call.key)
