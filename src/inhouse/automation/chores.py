"""What is done again and again whatever the tasks do: old calls erased, the store read
again, drift looked for."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from inhouse.automation.records import ACTOR
from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.jobs import queue, schedule
from inhouse.monitoring import drift_records, erasure
from inhouse.registry.upkeep import request_scrub
from inhouse.settings import Settings

RETENTION: Final = "retention"
SCRUB: Final = "scrub"
DRIFT: Final = "drift"
RATE_MB_S: Final = 20.0
"""Megabytes a second that a scheduled scrub reads at most."""
_DAY: Final = timedelta(days=1)
_MOST: Final = 1000


def run(database: Database, clock: Clock, settings: Settings) -> None:
    """Queue what is due. Each at most once in its interval, over all processes."""
    scrub_every = timedelta(days=settings.store.scrub_days)
    for name, every in ((RETENTION, _DAY), (SCRUB, scrub_every), (DRIFT, _DAY)):
        now = clock.now()
        with database.read() as reading:
            is_due = bool(every) and schedule.is_due(reading, name, every, at=now)
        if not is_due:
            continue
        with database.write() as unit:
            if not schedule.take(unit, name, every, at=now):
                continue
            if name == RETENTION:
                _erase_old(unit, settings, now)
            elif name == DRIFT:
                drift_records.request(unit, None, at=now)
            else:
                _scrub(unit, clock)


def _erase_old(unit: WriteUnit, settings: Settings, now: datetime) -> None:
    """Of every task with ``retention_days`` that holds something older."""
    busy = _being_erased(unit)
    for task, declared in sorted(settings.tasks.items()):
        if declared.retention_days is None or task in busy:
            continue
        before = now - timedelta(days=declared.retention_days)
        if erasure.has_older(unit, before, task):
            erasure.request_before(unit, before, task=task, actor=ACTOR, at=now)


def _being_erased(unit: ReadUnit) -> set[object]:
    unfinished: Iterable[JobStatus] = (JobStatus.QUEUED, JobStatus.RUNNING)
    found = (
        job
        for status in unfinished
        for job in queue.list_jobs(unit, status=status, name=erasure.JOB, limit=_MOST)
    )
    return {job.arguments.get("task") for job in found}


def _scrub(unit: WriteUnit, clock: Clock) -> None:
    """One that a person asked for is as good."""
    try:
        request_scrub(unit, clock, rate_mb_s=RATE_MB_S)
    except Conflict:
        return
