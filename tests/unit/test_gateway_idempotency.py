"""The same Idempotency-Key twice is one call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from sqlalchemy import Connection, delete, event

from inhouse.core.errors import Conflict, Invalid
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.gateway.idempotency import SLACK_S, Idempotency, RepeatableCall, forget
from inhouse.gateway.limits.limiter import LONGEST_WAIT_S
from inhouse.gateway.tables import IdempotentCall
from inhouse.interactions.record import CONFIRM_S
from inhouse.testing.clock import FrozenClock


def call(key: str = "k", request: object = "x", scope: str = "") -> RepeatableCall:
    return RepeatableCall(scope=scope, key=key, request=request, timeout_s=30.0)


class Counting:
    """An execution that counts, and waits for a gate when there is one."""

    def __init__(self, gate: asyncio.Event | None = None) -> None:
        self.times = 0
        self.started = asyncio.Event()
        self._gate = gate

    async def __call__(self) -> str:
        self.times += 1
        self.started.set()
        if self._gate is not None:
            await self._gate.wait()
        return f'{{"run": {self.times}}}'


@pytest.fixture
def idempotency(database: Database, clock: FrozenClock) -> Idempotency:
    return Idempotency(database, clock=clock)


def test_a_repeat_gets_the_stored_response(idempotency: Idempotency) -> None:
    execute = Counting()
    first = asyncio.run(idempotency.run(call(), execute))
    again = asyncio.run(idempotency.run(call(), execute))
    assert first == again == '{"run": 1}'
    assert execute.times == 1


def test_keys_of_other_callers_are_other_keys(idempotency: Idempotency) -> None:
    execute = Counting()
    asyncio.run(idempotency.run(call(scope="a"), execute))
    asyncio.run(idempotency.run(call(scope="b"), execute))
    assert execute.times == 2


def test_another_request_under_the_same_key_is_a_conflict(idempotency: Idempotency) -> None:
    execute = Counting()
    asyncio.run(idempotency.run(call(request={"a": 1, "b": 2}), execute))
    asyncio.run(idempotency.run(call(request={"b": 2, "a": 1}), execute))
    with pytest.raises(Conflict) as caught:
        asyncio.run(idempotency.run(call(request={"a": 1}), execute))
    assert caught.value.code == "idempotency-mismatch"
    assert execute.times == 1


def test_the_same_key_at_once_is_one_execution(database: Database, clock: FrozenClock) -> None:
    async def at_once() -> tuple[list[str], int]:
        gate = asyncio.Event()
        execute = Counting(gate)
        one, other = (Idempotency(database, clock=clock) for _ in range(2))
        tasks = [asyncio.create_task(i.run(call(), execute)) for i in [one, other] * 4]
        await execute.started.wait()
        gate.set()
        return await asyncio.gather(*tasks), execute.times

    responses, times = asyncio.run(at_once())
    assert responses == ['{"run": 1}'] * 8
    assert times == 1


def test_another_request_is_a_conflict_while_the_first_runs(idempotency: Idempotency) -> None:
    async def at_once() -> None:
        gate = asyncio.Event()
        execute = Counting(gate)
        first = asyncio.create_task(idempotency.run(call(), execute))
        await execute.started.wait()
        with pytest.raises(Conflict):
            await idempotency.run(call(request="y"), execute)
        gate.set()
        assert await first == '{"run": 1}'

    asyncio.run(at_once())


def _failing(error: BaseException) -> Callable[[], Awaitable[str]]:
    async def execute() -> str:
        raise error

    return execute


@pytest.mark.parametrize("error", [ValueError("no"), asyncio.CancelledError()])
def test_a_failure_is_not_stored(idempotency: Idempotency, error: BaseException) -> None:
    with pytest.raises(type(error)):
        asyncio.run(idempotency.run(call(), _failing(error)))
    assert asyncio.run(idempotency.run(call(), Counting())) == '{"run": 1}'


def test_the_claim_of_a_dead_process_lapses(database: Database, clock: FrozenClock) -> None:
    async def die_and_repeat() -> tuple[str, str]:
        gate = asyncio.Event()
        dead, alive = Counting(gate), Counting()
        stuck = asyncio.create_task(Idempotency(database, clock=clock).run(call(), dead))
        await dead.started.wait()
        waiting = asyncio.create_task(Idempotency(database, clock=clock).run(call(), alive))
        clock.advance(30.0 + SLACK_S + 1)
        second = await waiting
        gate.set()
        await stuck
        return second, await Idempotency(database, clock=clock).run(call(), alive)

    second, stored = asyncio.run(die_and_repeat())
    assert second == stored == '{"run": 1}'


@pytest.mark.parametrize("key", ["", "x" * 256, "a\0b"])
def test_a_key_has_1_to_255_characters(idempotency: Idempotency, key: str) -> None:
    with pytest.raises(Invalid) as caught:
        asyncio.run(idempotency.run(call(key), Counting()))
    assert caught.value.code == "idempotency-key"


def test_old_calls_are_forgotten(
    idempotency: Idempotency, database: Database, clock: FrozenClock
) -> None:
    asyncio.run(idempotency.run(call("old"), Counting()))
    clock.advance(3600)
    asyncio.run(idempotency.run(call("new"), Counting()))
    with database.write() as unit:
        assert forget(unit, clock.now() - timedelta(minutes=1)) == 1
    execute = Counting()
    asyncio.run(idempotency.run(call("old"), execute))
    asyncio.run(idempotency.run(call("new"), execute))
    assert execute.times == 1


def test_a_claim_that_is_given_back_meanwhile_is_asked_for_again(
    idempotency: Idempotency, database: Database
) -> None:
    """PostgreSQL may insert nothing beside a claim, and read none a moment later."""
    given_back = []

    def give_back(connection: Connection, _: object, statement: str, *rest: object) -> None:
        if statement.startswith("INSERT") and not given_back:
            given_back.append(connection.execute(delete(table_of(IdempotentCall))).rowcount)

    event.listen(database.engine, "after_cursor_execute", give_back)
    assert asyncio.run(idempotency.run(call(), Counting())) == '{"run": 1}'
    assert given_back == [1]


def test_a_claim_outlasts_the_wait_for_a_limit_and_the_commit() -> None:
    assert SLACK_S > LONGEST_WAIT_S + CONFIRM_S
