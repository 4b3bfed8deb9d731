"""Day budgets with real concurrency, restarts, a second process, and kill -9."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from sqlalchemy import func, select

from inhouse.core.clock import Clock, SystemClock
from inhouse.core.errors import Exhausted
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.gateway.keys import Key, KeyRing, Role, create
from inhouse.gateway.limits.limiter import Limiter
from inhouse.gateway.mirror import Poller
from inhouse.interactions.record import InteractionRecord, Recorder, Spending
from inhouse.interactions.spent import totals
from inhouse.interactions.tables import Interaction
from inhouse.settings import LimitSettings
from inhouse.testing.clock import FrozenClock

CONCURRENT = 50
COST = 0.03
BUDGET = 3.0
PATIENCE_S = 30.0
NOTHING_MORE = 1e-6
"""Sums of prices are not exact."""


class Process:
    """The limiter and recorder of one gateway process."""

    def __init__(self, database: Database, clock: Clock, server: LimitSettings) -> None:
        process_id = new_id()
        self.database, self.clock = database, clock
        self.keys = KeyRing(database)
        self.keys.refresh()
        self.recorder = Recorder(database, clock=SystemClock(), process_id=process_id)
        self.limiter = Limiter(
            database,
            clock=clock,
            process_id=process_id,
            server=server,
            upstreams={},
            keys=self.keys,
        )
        self.limiter.mirror.refresh()
        self.spent = 0.0
        self.in_flight = self.most_in_flight = 0

    async def call(self, key: Key | None, model_runs: Callable[[], asyncio.Future[None]]) -> bool:
        """One call, as the gateway makes it; False when it was refused."""
        try:
            self.limiter.admit(key)
        except Exhausted:
            return False
        self.in_flight += 1
        self.most_in_flight = max(self.in_flight, self.most_in_flight)
        await model_runs()
        self.in_flight -= 1
        spendings = (Spending("up", 1, 30, COST),)
        key_id = None if key is None else key.id
        self.recorder.put(
            InteractionRecord(
                id=new_id(),
                created_at=self.clock.now(),
                status="answered",
                input="text",
                latency_ms=1.0,
                input_tokens=30,
                cost=COST,
                key_id=key_id,
                spendings=spendings,
            )
        )
        self.limiter.spend(key_id, spendings)
        self.spent += COST
        return True

    def burst(self, calls: int, key: Key | None = None) -> int:
        """So many calls, 50 at a time, in an order that each model's answer decides; returns how
        many were admitted. Models answer when 50 wait or no more calls come."""

        async def run() -> int:
            waiting: list[asyncio.Future[None]] = []
            left = calls

            def model() -> asyncio.Future[None]:
                waiting.append(asyncio.get_running_loop().create_future())
                return waiting[-1]

            async def caller() -> int:
                nonlocal left
                admitted = 0
                while left:
                    left -= 1
                    admitted += await self.call(key, model)
                return admitted

            async def answer() -> None:
                while True:
                    await asyncio.sleep(0)
                    for place in range(len(waiting)):
                        if place % 3 != 1 or len(waiting) < 3:
                            waiting[place].set_result(None)
                    waiting[:] = [one for one in waiting if not one.done()]

            answering = asyncio.create_task(answer())
            admitted = await asyncio.gather(*(caller() for _ in range(CONCURRENT)))
            answering.cancel()
            return sum(admitted)

        return asyncio.run(run())


@contextmanager
def process(
    database: Database, clock: Clock, server: LimitSettings | None = None
) -> Iterator[Process]:
    """A process that stops as one should: what was recorded is committed."""
    made = Process(database, clock, server or LimitSettings())
    made.recorder.start()
    try:
        yield made
    finally:
        made.recorder.stop()


def recorded(database: Database, clock: Clock) -> tuple[int, float]:
    """Calls and cost of the day, as the database has them."""
    with database.read() as unit:
        rows = totals(unit, clock.now().date().isoformat())
    return sum(row.requests for row in rows if not row.upstream), sum(row.cost for row in rows)


def make_key(database: Database, clock: FrozenClock, limits: LimitSettings) -> None:
    with database.write() as unit:
        create(unit, "news", Role.APPLICATION, clock.now(), limits)


def test_a_cost_budget_overshoots_by_what_is_in_flight_at_most(
    database: Database, clock: FrozenClock
) -> None:
    with process(database, clock, LimitSettings(cost_per_day=BUDGET)) as one:
        admitted = one.burst(400)
        assert one.most_in_flight == CONCURRENT
        assert one.burst(400) == 0, "once it is used up, it is"
    assert admitted * COST >= BUDGET
    assert one.spent <= BUDGET + CONCURRENT * COST + NOTHING_MORE
    assert recorded(database, clock) == (admitted, pytest.approx(one.spent))


def test_a_cost_budget_survives_restarts(database: Database, clock: FrozenClock) -> None:
    make_key(database, clock, LimitSettings(cost_per_day=BUDGET))
    total, lives = 0.0, 0
    while True:
        with process(database, clock) as one:
            (key,) = one.keys.all()
            admitted = one.burst(30, key)
            total, lives = total + one.spent, lives + 1
        if admitted < 30:
            break
    assert lives > 2
    assert total + NOTHING_MORE >= BUDGET
    assert total <= BUDGET + CONCURRENT * COST + NOTHING_MORE
    with process(database, clock) as one:
        assert one.burst(50, key) == 0


def test_a_request_budget_never_overshoots(database: Database, clock: FrozenClock) -> None:
    make_key(database, clock, LimitSettings(requests_per_day=120))
    admitted = []
    for _ in range(3):
        with process(database, clock) as one:
            admitted.append(one.burst(70, one.keys.all()[0]))
    assert admitted == [70, 50, 0]
    assert recorded(database, clock)[0] == 120


def test_two_processes_share_a_budget(database: Database, clock: FrozenClock) -> None:
    limits = LimitSettings(cost_per_day=BUDGET)
    with ExitStack() as stack:
        pair = [stack.enter_context(process(database, clock, limits)) for _ in range(2)]
        rounds = 0
        while any([one.burst(20) for one in pair]):
            rounds += 1
            for one in pair:
                one.recorder.flush()
            for one in pair:
                one.limiter.mirror.refresh()
        shares = [one.spent for one in pair]
    assert rounds > 1
    assert min(shares) > 0
    assert sum(shares) + NOTHING_MORE >= BUDGET
    assert sum(shares) <= BUDGET + 2 * 20 * COST + NOTHING_MORE, "what ran between two looks"


def test_what_another_process_spends_arrives_by_itself(
    database: Database, clock: FrozenClock
) -> None:
    limits = LimitSettings(requests_per_day=10)
    with process(database, clock, limits) as one, process(database, clock, limits) as other:
        poller = Poller([other.limiter.mirror])
        poller.start()
        try:
            assert one.burst(10) == 10
            deadline = time.monotonic() + PATIENCE_S
            while other.limiter.lines()[0].used != 10:
                assert time.monotonic() < deadline, "never heard of it"
                time.sleep(0.01)
            assert other.burst(5) == 0
        finally:
            poller.stop()


CHILD = """
import sys, time
from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.gateway.keys import KeyRing
from inhouse.gateway.limits.limiter import Limiter
from inhouse.interactions.record import InteractionRecord, Recorder, Spending
from inhouse.settings import LimitSettings

clock, process_id = SystemClock(), new_id()
database = Database(sys.argv[1])
recorder = Recorder(database, clock=clock, process_id=process_id)
recorder.start()
limits, keys = LimitSettings(requests_per_day=10**6), KeyRing(database)
limiter = Limiter(
    database, clock=clock, process_id=process_id, server=limits, upstreams={}, keys=keys
)
limiter.mirror.refresh()
spendings = (Spending("", 1, 2, 0.25), Spending("up", 2, 1, 0.25))
while True:
    limiter.admit(None)
    recorder.put(InteractionRecord(
        id=new_id(), created_at=clock.now(), status="answered", input="x", latency_ms=1.0,
        input_tokens=3, cost=0.5, spendings=spendings,
    ))
    limiter.spend(None, spendings)
    sys.stdout.write("+")
    sys.stdout.flush()
    time.sleep(0.001)
"""


def _stored(database_url: str) -> int:
    database = Database(database_url)
    with database.read() as unit:
        found = unit.execute(select(func.count()).select_from(table_of(Interaction))).scalar_one()
    database.close()
    return found


def test_a_killed_process_leaves_what_it_recorded_counted(database_url: str) -> None:
    command = [sys.executable, "-c", CHILD, database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        deadline = time.monotonic() + PATIENCE_S
        while not _stored(database_url):
            assert len(child.stdout.read(500)) == 500, "the process ended by itself"
            assert time.monotonic() < deadline, "nothing is ever recorded"
        os.kill(child.pid, signal.SIGKILL)
    stored = _stored(database_url)
    database = Database(database_url)
    try:
        limits = LimitSettings(requests_per_day=stored + 3, cost_per_day=1e6)
        with process(database, SystemClock(), limits) as one:
            used = {line.limit: line.used for line in one.limiter.lines()}
            assert used == {"requests_per_day": stored, "cost_per_day": stored * 0.5}
            assert one.burst(20) == 3
    finally:
        database.close()
