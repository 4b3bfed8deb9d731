"""The database fails for real: locked by another process, its disk full, its connections cut."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Unavailable
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions import record as record_module
from inhouse.interactions.record import InteractionRecord, Recorder

CLOCK = SystemClock()
LOCKED_S = 1.6
"""Longer than one try of a durable commit waits for a lock."""
LOCKER = """
import sys
from inhouse.db.unit import Database

database = Database(sys.argv[1])
with database.write() as unit:
    if not database.is_sqlite:
        unit.exec_driver_sql("LOCK TABLE interaction IN ACCESS EXCLUSIVE MODE")
    print("locked", flush=True)
    sys.stdin.read()
"""


def record() -> InteractionRecord:
    return InteractionRecord(
        id=new_id(), created_at=CLOCK.now(), status="answered", input="x" * 500, latency_ms=1.0
    )


def stored(database: Database) -> set[str]:
    with database.read() as unit:
        return {row[0] for row in unit.exec_driver_sql("SELECT id FROM interaction")}


def counted(database: Database) -> int:
    with database.read() as unit:
        return int(unit.exec_driver_sql("SELECT coalesce(sum(requests), 0) FROM spent").scalar())


@contextmanager
def locked(url: str) -> Iterator[Callable[[], None]]:
    """Another process holds the lock, at most until the end of this block; call to release it."""
    command, pipe = [sys.executable, "-c", LOCKER, url], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as locker:
        assert locker.stdin is not None
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        yield locker.stdin.close
        locker.stdin.close()
    assert locker.returncode == 0


def test_fast_calls_are_answered_while_another_process_holds_the_lock(
    database: Database, database_url: str
) -> None:
    recorder = Recorder(database, clock=CLOCK)
    recorder.start()
    rows = [record() for _ in range(300)]
    with locked(database_url):
        for row in rows:
            recorder.admit()
            assert recorder.put(row) is None
        with pytest.raises(Unavailable):
            recorder.flush(timeout=0.2)
        recorder.admit()
    recorder.stop()
    assert stored(database) == {row.id for row in rows}
    assert counted(database) == len(rows)


def test_durable_calls_wait_for_the_lock(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(database, clock=CLOCK, durability="durable")
    recorder.start()
    rows = [record() for _ in range(40)]

    async def calls(release: Callable[[], None]) -> None:
        waiting = asyncio.gather(*(recorder.put(row) for row in rows))
        await asyncio.sleep(LOCKED_S)
        assert not waiting.done()
        release()
        await waiting

    monkeypatch.setattr(record_module, "CONFIRM_S", 30.0)
    with locked(database_url) as release:
        asyncio.run(calls(release))
        assert stored(database) == {row.id for row in rows}
    recorder.stop()
    assert counted(database) == len(rows)


def test_durable_calls_are_refused_when_the_lock_outlasts_them(
    database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "CONFIRM_S", 0.3)
    recorder = Recorder(database, clock=CLOCK, durability="durable")
    recorder.start()
    refused, later = record(), record()

    async def call(row: InteractionRecord) -> None:
        await recorder.put(row)

    with locked(database_url):
        with pytest.raises(Unavailable) as caught:
            asyncio.run(call(refused))
        assert caught.value.code == "record-failed"
    monkeypatch.setattr(record_module, "CONFIRM_S", 30.0)
    recorder.flush()
    asyncio.run(call(later))
    recorder.stop()
    assert stored(database) == {refused.id, later.id}


@pytest.mark.postgres
@pytest.mark.parametrize("durability", ["fast", "durable"])
def test_cut_connections_lose_and_double_nothing(
    postgres_server: str, durability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "CONFIRM_S", 30.0)
    name = f"cut_{durability}_{uuid.uuid4().hex}"
    server = make_url(postgres_server)
    admin = create_engine(server, isolation_level="AUTOCOMMIT")
    cut = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE template_inhouse"))
        database = Database(server.set(database=name).render_as_string(False))
        recorder = Recorder(database, clock=CLOCK, durability=durability)  # type: ignore[arg-type]
        recorder.start()
        rows = [record() for _ in range(600)]

        async def calls() -> None:
            for start in range(0, len(rows), 100):
                puts = [recorder.put(row) for row in rows[start : start + 100]]
                connection.execute(cut, {"name": name})
                await asyncio.gather(*(put for put in puts if put is not None))

        asyncio.run(calls())
        recorder.stop()
        assert stored(database) == {row.id for row in rows}
        assert counted(database) == len(rows)
        database.close()
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.dispose()


FULL = """
import asyncio, json, resource, sys, time
from pathlib import Path
from prometheus_client import REGISTRY
from inhouse.core.clock import SystemClock
from inhouse.core.errors import Unavailable
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions import record as record_module
from inhouse.interactions.record import InteractionRecord, Recorder

path, durability, policy = sys.argv[1:]
record_module.CONFIRM_S, record_module.FAILING_S = 1.0, 0.5
clock = SystemClock()
recorder = Recorder(
    Database("sqlite:///" + path), clock=clock, durability=durability, on_record_failure=policy,
    queue_rows=60,
)
recorder.start()
said = {"acknowledged": [], "put": [], "refused": [], "later": []}

async def call(said_as):
    recorder.admit()
    row = InteractionRecord(
        id=new_id(), created_at=clock.now(), status="answered", input="x" * 20_000, latency_ms=1.0
    )
    committed = recorder.put(row)
    said["put"].append(row.id)
    if committed is not None:
        await committed
        if policy == "refuse":
            said["acknowledged"].append(row.id)
    said[said_as].append(row.id)

async def until_it_is_full():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            await asyncio.gather(*(call("put") for _ in range(4)))
        except Unavailable as error:
            said["refused"].append(error.code)
            if recorder_refuses():
                return
        if policy == "answer" and counter("dropped") >= 20:
            return
        await asyncio.sleep(0.005)

def recorder_refuses():
    try:
        recorder.admit()
    except Unavailable:
        return True
    return False

def counter(name):
    return REGISTRY.get_sample_value(f"inhouse_record_{name}_total")

async def until_it_goes_on():
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (recorder_refuses() or recorder.depth()):
        await asyncio.sleep(0.01)
    for _ in range(10):
        await call("later")

size = Path(path).stat().st_size
limit = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 400_000, limit[1]))
asyncio.run(until_it_is_full())
resource.setrlimit(resource.RLIMIT_FSIZE, limit)
record_module.CONFIRM_S = 30.0
asyncio.run(until_it_goes_on())
recorder.stop()
print(json.dumps({**said, "dropped": counter("dropped"), "failures": counter("failures")}))
"""


@pytest.mark.parametrize("policy", ["refuse", "answer"])
@pytest.mark.parametrize("durability", ["fast", "durable"])
def test_a_full_disk(
    sqlite_database: Database, tmp_path: Path, durability: str, policy: str
) -> None:
    """A limit on the size of files stops the database as a full disk does; then it is lifted."""
    path = str(tmp_path / "inhouse.db")
    command = [sys.executable, "-c", FULL, path, durability, policy]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    kept = stored(sqlite_database)
    with sqlite_database.read() as unit:
        assert unit.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    assert said["failures"] > 0
    assert counted(sqlite_database) == len(kept)
    assert set(said["acknowledged"]) <= kept
    assert len(said["later"]) == 10
    assert set(said["later"]) <= kept
    if policy == "refuse":
        assert set(said["refused"]) == {"record-failed"}
        assert set(said["put"]) == kept
        assert said["dropped"] == 0
    else:
        assert said["refused"] == []
        assert len(set(said["put"])) == len(kept) + said["dropped"]
        assert said["dropped"] >= 20


def test_a_file_that_is_moved_away_is_gone_until_it_is_back(
    sqlite_database: Database, tmp_path: Path
) -> None:
    """Connections that are open still would write to the file where it is now, and new ones would
    begin an empty one."""
    assert sqlite_database.engine.url.database
    place, away = Path(sqlite_database.engine.url.database), tmp_path / "away"
    away.mkdir()
    other = Database(f"sqlite:///{place}")
    with sqlite_database.read() as first, sqlite_database.read() as second, other.read() as third:
        for unit in (first, second, third):
            unit.execute(text("SELECT name FROM meta"))
    files = list(place.parent.glob(f"{place.name}*"))
    for file in files:
        file.rename(away / file.name)
    for _ in range(3):
        with pytest.raises(Unavailable, match="is gone"), sqlite_database.read():
            pass
    assert not place.exists()
    for file in files:
        (away / file.name).rename(file)
    with sqlite_database.write() as unit:
        unit.execute(text("INSERT INTO meta (name, value) VALUES ('x', '1')"))
    with other.read() as reading:
        assert reading.execute(text("SELECT value FROM meta WHERE name = 'x'")).scalar() == "1"
    other.close()
