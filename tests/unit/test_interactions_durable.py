"""Durable recording: callers wait for their commit, and for no longer than that helps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest
from prometheus_client import REGISTRY

from inhouse.core.clock import SystemClock
from inhouse.core.errors import Unavailable
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.interactions import record as record_module
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.search import get, search


def record(**changes: object) -> InteractionRecord:
    values = {
        "id": new_id(),
        "created_at": SystemClock().now(),
        "status": "answered",
        "input": "Profits doubled.",
        "latency_ms": 1.0,
        **changes,
    }
    return InteractionRecord(**values)  # type: ignore[arg-type]


@pytest.fixture
def make(database: Database) -> Iterator[Callable[..., Recorder]]:
    started: list[Recorder] = []

    def build(**options: object) -> Recorder:
        made = Recorder(database, clock=SystemClock(), durability="durable", **options)  # type: ignore[arg-type]
        made.start()
        started.append(made)
        return made

    yield build
    for made in started:
        made.stop()


def hide(database: Database, old: str = "interaction", new: str = "hidden") -> None:
    with database.write() as unit:
        unit.exec_driver_sql(f"ALTER TABLE {old} RENAME TO {new}")


def show(database: Database) -> None:
    hide(database, "hidden", "interaction")


def counted(name: str) -> float:
    return REGISTRY.get_sample_value(f"inhouse_record_{name}_total") or 0.0


def test_a_call_is_committed_when_its_caller_goes_on(
    database: Database, make: Callable[..., Recorder]
) -> None:
    recorder = make()

    async def call() -> None:
        row = record()
        await recorder.put(row)
        with database.read() as unit:
            assert get(unit, row.id) == row

    async def calls() -> None:
        await call()
        await asyncio.gather(*(call() for _ in range(40)))

    asyncio.run(calls())
    asyncio.run(call())


def test_callers_of_several_loops(database: Database, make: Callable[..., Recorder]) -> None:
    recorder = make()
    rows = [[record() for _ in range(50)] for _ in range(3)]

    async def put_all(mine: list[InteractionRecord]) -> None:
        await asyncio.gather(*(recorder.put(row) for row in mine))

    threads = [
        threading.Thread(target=lambda mine=mine: asyncio.run(put_all(mine))) for mine in rows
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    with database.read() as unit:
        found = {row.id for row in search(unit, limit=1000)}
    assert found == {row.id for mine in rows for row in mine}


def test_without_a_loop_or_a_wish_there_is_nothing_to_wait_for(
    database: Database, make: Callable[..., Recorder]
) -> None:
    recorder = make()

    async def unconfirmed() -> None:
        assert recorder.put(record(), confirm=False) is None

    assert recorder.put(record()) is None
    asyncio.run(unconfirmed())
    recorder.flush()
    with database.read() as unit:
        assert len(search(unit)) == 2


def test_a_caller_who_hangs_up_disturbs_nobody(
    database: Database, make: Callable[..., Recorder]
) -> None:
    recorder = make()

    async def calls() -> None:
        waiting = [asyncio.ensure_future(recorder.put(record())) for _ in range(10)]
        for one in waiting[::2]:
            one.cancel()
        await asyncio.gather(*waiting[1::2])

    asyncio.run(calls())
    recorder.flush()
    with database.read() as unit:
        assert len(search(unit)) == 10


def test_an_abandoned_loop_holds_up_no_commit(
    database: Database, make: Callable[..., Recorder]
) -> None:
    recorder = make()

    async def leave() -> None:
        recorder.put(record())

    asyncio.run(leave())
    asyncio.run(leave())
    recorder.flush()
    with database.read() as unit:
        assert len(search(unit)) == 2


def test_refuse_raises_after_a_while_and_the_row_comes_later(
    database: Database, make: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "CONFIRM_S", 0.2)
    recorder = make()
    hide(database)
    rows = [record() for _ in range(3)]

    async def calls() -> list[object]:
        return await asyncio.gather(*(recorder.put(row) for row in rows), return_exceptions=True)

    ends = asyncio.run(calls())
    assert [one.code for one in ends if isinstance(one, Unavailable)] == ["record-failed"] * 3
    show(database)
    recorder.flush()

    async def again() -> None:
        await recorder.put(record())

    asyncio.run(again())
    with database.read() as unit:
        assert len(search(unit)) == 4


def test_answer_lets_go_after_a_while_counts_and_tells(
    database: Database, make: Callable[..., Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_module, "CONFIRM_S", 0.2)
    told: list[str] = []
    recorder = make(on_record_failure="answer", on_error=lambda error: told.append(str(error)))
    hide(database)
    before = counted("unconfirmed")

    async def calls() -> None:
        await asyncio.gather(*(recorder.put(record()) for _ in range(3)))
        monkeypatch.setattr(record_module, "FAILING_S", 0.0)
        assert recorder.put(record()) is None

    asyncio.run(calls())
    assert counted("unconfirmed") == before + 4
    assert told.count("calls are answered before they are recorded") == 1
    show(database)
    recorder.flush()
    with database.read() as unit:
        assert len(search(unit)) == 4


@pytest.mark.parametrize("policy", ["refuse", "answer"])
def test_only_the_caller_of_a_bad_row_hears_of_it(
    database: Database, make: Callable[..., Recorder], policy: str
) -> None:
    recorder = make(on_record_failure=policy)
    rows = [record(), record(output=object()), record()]

    async def calls() -> list[object]:
        return await asyncio.gather(*(recorder.put(row) for row in rows), return_exceptions=True)

    ends = asyncio.run(calls())
    failed = [isinstance(one, Unavailable) for one in ends]
    assert failed == [False, policy == "refuse", False]
    with database.read() as unit:
        assert len(search(unit)) == 2


def test_a_full_queue_refuses_durable_calls(
    sqlite_database: Database,
) -> None:
    recorder = Recorder(sqlite_database, clock=SystemClock(), durability="durable", queue_rows=1)

    async def calls() -> None:
        first = asyncio.ensure_future(recorder.put(record()))
        with pytest.raises(Unavailable):
            recorder.put(record())
        recorder.start()
        await first

    asyncio.run(calls())
    recorder.stop()


def test_other_connections_keep_their_own_settings(sqlite_database: Database) -> None:
    recorder = Recorder(sqlite_database, clock=SystemClock(), durability="durable")
    recorder.start()

    async def call() -> None:
        await recorder.put(record())

    asyncio.run(call())
    with sqlite_database.engine.connect() as one, sqlite_database.engine.connect() as other:
        for connection in (one, other):
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1
    recorder.stop()
