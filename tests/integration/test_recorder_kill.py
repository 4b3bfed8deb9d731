"""kill -9 of a process that records: what was acknowledged is there, nothing is damaged.

``durable``: every row whose caller went on is in the database. ``fast``: only the newest moments
are missing. The recorder waits at most 20 ms for a batch, so that 50 ms of traffic are at risk
where a commit takes its usual few milliseconds. A machine that runs other suites beside this one
may hold a commit up for longer; the bound here, on the median of the kills, leaves room for that
and still tells a batch from a backlog.

Each victim is forked from a process that has imported everything and has one thread.
"""

from __future__ import annotations

import os
import random
import signal
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from inhouse.db.unit import Database

CALLERS = 16
AT_RISK_S = 0.15
KILLS = {"sqlite": 30, "postgresql": 5}

TEMPLATE = """
import asyncio, os, struct, sys, time
from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions.record import InteractionRecord, Recorder

def record_for_ever(url, durability, callers, pipe):
    clock = SystemClock()
    recorder = Recorder(Database(url), clock=clock, durability=durability)
    recorder.start()

    async def call():
        while True:
            record = InteractionRecord(
                id=new_id(), created_at=clock.now(), status="answered", input="x" * 2000,
                latency_ms=1.0, input_tokens=1,
            )
            committed = recorder.put(record)
            if committed is not None:
                await committed
            os.write(pipe, struct.pack("<d36s", time.monotonic(), record.id.encode()))
            await asyncio.sleep(0 if committed is not None else 0.005)

    async def calls():
        await asyncio.gather(*(call() for _ in range(callers)))

    asyncio.run(calls())

for line in sys.stdin:
    url, durability, callers, path = line.split()
    child = os.fork()
    if child == 0:
        record_for_ever(url, durability, int(callers), os.open(path, os.O_WRONLY))
    print(child, flush=True)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


@dataclass(frozen=True)
class Acknowledged:
    """A row whose caller went on, and when, by the clock that all processes share."""

    at: float
    id: str


class Template:
    """Makes victims: processes that record until they are killed."""

    def __init__(self, folder: Path) -> None:
        self._fifo = folder / "acknowledged"
        os.mkfifo(self._fifo)
        self.process = subprocess.Popen(
            [sys.executable, "-c", TEMPLATE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run_until_killed(self, url: str, durability: str, seconds: float) -> list[Acknowledged]:
        """What was acknowledged by a process that is killed after so many seconds of traffic."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{url} {durability} {CALLERS} {self._fifo}\n")
        self.process.stdin.flush()
        victim = int(self.process.stdout.readline())
        with self._fifo.open("rb") as pipe:
            seen = [pipe.read(_SIZE)]
            kill_at = time.monotonic() + seconds
            while time.monotonic() < kill_at or len(seen) <= 2 * CALLERS:
                seen.append(pipe.read(_SIZE))
            os.kill(victim, signal.SIGKILL)
            rest = pipe.read()
        assert self.process.stdout.readline() == "dead\n"
        data = b"".join(seen) + rest
        data = data[: len(data) // _SIZE * _SIZE]
        return [Acknowledged(at, row.decode()) for at, row in struct.iter_unpack("<d36s", data)]


_SIZE = struct.calcsize("<d36s")


@pytest.fixture
def template(tmp_path: Path) -> Iterator[Template]:
    made = Template(tmp_path)
    yield made
    assert made.process.stdin is not None
    made.process.stdin.close()
    made.process.wait(30)
    assert made.process.stdout is not None
    made.process.stdout.close()


def look_into(database: Database) -> tuple[set[str], int]:
    """The ids of the rows that are there, and how many calls were counted as spent with them."""
    query = "SELECT id, (SELECT sum(requests) FROM spent) FROM interaction"
    with database.read() as unit:
        if database.is_sqlite:
            assert unit.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
        rows = unit.exec_driver_sql(query).all()
    return {row[0] for row in rows}, int(rows[0][1])


@pytest.mark.parametrize("durability", ["durable", "fast"])
def test_a_killed_process_loses_only_what_it_may(
    database: Database, database_url: str, template: Template, durability: str
) -> None:
    at_risk: list[float] = []
    for seed in range(KILLS[database.engine.dialect.name]):
        seconds = random.Random(seed).uniform(0.1, 0.3)
        acknowledged = template.run_until_killed(database_url, durability, seconds)
        kept, counted = look_into(database)
        missing = [row for row in acknowledged if row.id not in kept]
        assert len(acknowledged) > CALLERS
        assert counted == len(kept)
        if durability == "durable":
            assert missing == []
        else:
            assert missing == acknowledged[len(acknowledged) - len(missing) :], "the newest only"
            at_risk.append(acknowledged[-1].at - missing[0].at if missing else 0.0)
    assert durability == "durable" or statistics.median(at_risk) <= AT_RISK_S
