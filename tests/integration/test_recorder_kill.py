"""kill -9 of a process that records: only the newest moments are missing, nothing is damaged.

The recorder waits at most 20 ms for a batch, so that 50 ms of traffic are at risk where a commit
takes its usual few milliseconds. A machine that runs other suites beside this one may hold a commit
up for longer; the bound here leaves room for that and still tells a batch from a backlog.
"""

from __future__ import annotations

import math
import os
import random
import selectors
import signal
import subprocess
import sys
import time

import pytest

from inhouse.core.ids import created_at
from inhouse.db.unit import Database
from inhouse.interactions.search import search

RATE = 1_000
AT_RISK_S = 0.15
KILLS = 5

CHILD = """
import sys, time
from inhouse.core.clock import SystemClock
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions.record import InteractionRecord, Recorder

clock = SystemClock()
recorder = Recorder(Database(sys.argv[1]), clock=clock)
recorder.start()
while True:
    record = InteractionRecord(
        id=new_id(), created_at=clock.now(), status="answered", input="x" * 200, latency_ms=1.0
    )
    recorder.put(record)
    sys.stdout.write(record.id + "\\n")
    sys.stdout.flush()
    time.sleep(1 / float(sys.argv[2]))
"""


def record_until_killed(url: str, seconds: float) -> list[str]:
    """Ids acknowledged by a process that is killed after so many seconds of traffic."""
    command = [sys.executable, "-c", CHILD, url, str(RATE)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        descriptor = child.stdout.fileno()
        os.set_blocking(descriptor, False)
        seen, kill_at = b"", None
        with selectors.DefaultSelector() as selector:
            selector.register(descriptor, selectors.EVENT_READ)
            while kill_at is None or time.monotonic() < kill_at:
                wait = 30.0 if kill_at is None else max(0.0, kill_at - time.monotonic())
                assert selector.select(wait) or kill_at is not None, "the process says nothing"
                seen += _read(descriptor)
                kill_at = kill_at or time.monotonic() + seconds
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        seen += _read(descriptor)
    return [line.decode() for line in seen.split(b"\n")[:-1]]


def _read(descriptor: int) -> bytes:
    pieces = []
    while True:
        try:
            piece = os.read(descriptor, 1 << 16)
        except BlockingIOError:
            break
        if not piece:
            break
        pieces.append(piece)
    return b"".join(pieces)


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_process_loses_only_its_newest_moments(database_url: str, seed: int) -> None:
    acknowledged = record_until_killed(database_url, random.Random(seed).uniform(0.3, 0.8))
    database = Database(database_url)
    try:
        with database.read() as unit:
            stored = [row.id for row in search(unit, limit=1000)][::-1]
            if database.is_sqlite:
                assert unit.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    finally:
        database.close()
    lasted = (created_at(acknowledged[-1]) - created_at(acknowledged[0])).total_seconds()
    at_risk = math.ceil(AT_RISK_S * len(acknowledged) / lasted)
    assert len(acknowledged) > at_risk
    kept = acknowledged[: len(stored)]
    assert stored[: len(kept)] == kept, "only the newest calls may be missing"
    assert len(acknowledged) - len(kept) <= at_risk
