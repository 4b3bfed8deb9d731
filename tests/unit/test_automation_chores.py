"""What is done again and again: old calls erased by task, the store read again."""

from __future__ import annotations

from pathlib import Path

import pytest

from inhouse.automation import chores
from inhouse.core.ids import new_id
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database
from inhouse.interactions.erase import is_erased
from inhouse.interactions.record import InteractionRecord, insert
from inhouse.interactions.search import get as get_call
from inhouse.jobs import queue
from inhouse.jobs.queue import JobRecord
from inhouse.jobs.worker import Worker
from inhouse.monitoring import erasure
from inhouse.monitoring.erasure import Eraser
from inhouse.registry.upkeep import SCRUB, Scrub
from inhouse.settings import Settings, StoreSettings, TaskSettings
from inhouse.store.store import ModelStore
from inhouse.testing.clock import FrozenClock

DAY_S = 86_400
FORGETS = TaskSettings(kind="text", retention_days=30)
KEEPS = TaskSettings(kind="text")
SETTINGS = Settings(tasks={"forgets": FORGETS, "keeps": KEEPS}, store=StoreSettings(scrub_days=0))


def call(database: Database, clock: FrozenClock, task: str) -> str:
    with database.write() as unit:
        made = InteractionRecord(
            id=new_id(),
            created_at=clock.now(),
            status="answered",
            input="words",
            latency_ms=1.0,
            task=task,
        )
        insert(unit, [made])
    return made.id


def jobs(database: Database, name: str) -> list[JobRecord]:
    with database.read() as unit:
        return queue.list_jobs(unit, name=name)


def tell_due(database: Database, clock: FrozenClock, settings: Settings = SETTINGS) -> None:
    """A day passes, and what is due is queued."""
    chores.run(database, clock, settings)
    clock.advance(DAY_S)
    chores.run(database, clock, settings)


def test_calls_of_a_task_are_kept_as_long_as_it_says(
    database: Database, clock: FrozenClock
) -> None:
    old, other = call(database, clock, "forgets"), call(database, clock, "keeps")
    tell_due(database, clock)
    assert jobs(database, erasure.JOB) == []
    clock.advance(30 * DAY_S)
    young = call(database, clock, "forgets")
    tell_due(database, clock)
    tell_due(database, clock)
    [job] = jobs(database, erasure.JOB)
    assert (job.arguments["task"], job.arguments["actor"]) == ("forgets", "automation")
    eraser = Eraser(database, clock, lambda: None)
    worker = Worker(database, {erasure.JOB: eraser}, clock=clock, name="t")
    done = worker.run_next()
    assert done is not None
    assert (done.status, done.error) == (JobStatus.DONE, None)
    with database.read() as unit:
        found = [is_erased(get_call(unit, one).input) for one in (old, other, young)]
        [record] = erasure.list_erasures(unit)
    assert found == [True, False, False]
    assert (record.task, record.counts["interactions"]) == ("forgets", 1)
    tell_due(database, clock)
    assert len(jobs(database, erasure.JOB)) == 1


def test_purges_of_several_tasks_are_jobs_of_their_own(
    sqlite_database: Database, clock: FrozenClock
) -> None:
    at = clock.now()
    with sqlite_database.write() as unit:
        asked = [
            erasure.request_before(unit, at, task=task, actor=actor, at=at).id
            for task, actor in (("a", "ada"), ("b", "ada"), (None, "ada"), ("a", "bob"))
        ]
    assert len(set(asked)) == 3
    assert asked[0] == asked[3]


def test_the_store_is_read_again_when_its_days_are_over(
    sqlite_database: Database, clock: FrozenClock, tmp_path: Path
) -> None:
    weekly = Settings(store=StoreSettings(scrub_days=7))
    tell_due(sqlite_database, clock, weekly)
    assert jobs(sqlite_database, SCRUB) == []
    clock.advance(6 * DAY_S)
    tell_due(sqlite_database, clock, weekly)
    [job] = jobs(sqlite_database, SCRUB)
    clock.advance(7 * DAY_S)
    tell_due(sqlite_database, clock, weekly)
    assert jobs(sqlite_database, SCRUB) == [job]
    store = ModelStore(tmp_path / "store", clock)
    worker = Worker(
        sqlite_database, {SCRUB: Scrub(sqlite_database, store)}, clock=clock, name="test"
    )
    done = worker.run_next()
    assert done is not None
    assert done.result == {"findings": 0, "messages": []}


def test_never_is_never(sqlite_database: Database, clock: FrozenClock) -> None:
    tell_due(sqlite_database, clock)
    clock.advance(1000 * DAY_S)
    tell_due(sqlite_database, clock)
    assert jobs(sqlite_database, SCRUB) == []


@pytest.mark.parametrize("days", [0, -1])
def test_a_retention_of_no_days_is_refused(days: int) -> None:
    with pytest.raises(ValueError, match="retention_days"):
        TaskSettings(kind="text", retention_days=days)
