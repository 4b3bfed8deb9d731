"""A general model audits drawn calls: it is asked what the task asks, and its answer is the label.

It is told neither the arm nor the answer. Where it fails there is no label.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any, Final

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError, Conflict, InhouseError, NotFound
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.gateway.answer import ask_task
from inhouse.inference.base import Backend, Message, Question, Reply
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.rollout import audit, intake
from inhouse.rollout.audit import Drawn
from inhouse.rollout.owner import Owner, find_owner
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskSpec

JOB: Final = "rollout.judge"
EVERY: Final = timedelta(seconds=60)
"""Time between the beginnings of two jobs for one split. Every one that failed doubles it."""
LONGEST: Final = timedelta(hours=1)
_DOUBLINGS: Final = 6
LOOK_S: Final = 10.0
"""Seconds between two looks for calls that wait."""
LASTS_S: Final = 60.0
"""Seconds after which a job begins no other call; the next one goes on."""
TIMEOUT_S: Final = 60.0
_FAILURES: Final = 5
_UNDER_WAY: Final = (JobStatus.QUEUED, JobStatus.RUNNING)


class Asking:
    """Queues jobs for the judges of splits, where calls wait for one. For one thread at a time."""

    def __init__(self, database: Database, clock: Clock, catalog: Catalog) -> None:
        self._database = database
        self._clock = clock
        self._catalog = catalog
        self._looked_at: dict[str, float] = {}
        self._judged: dict[str, dict[str, int]] = {}

    def ask(self, owner_id: str) -> None:
        """Look at the calls of a split, unless that was only just done, and queue a job where some
        wait for its judge."""
        now = self._clock.monotonic()
        looked_at = self._looked_at.get(owner_id)
        if looked_at is not None and now - looked_at < LOOK_S:
            return
        self._looked_at[owner_id] = now
        if self._is_wanted(owner_id):
            with self._database.write() as unit:
                owner = _judged_by(unit, owner_id, lock=True)
                if owner is not None and not is_busy(unit, owner, self._clock.now()):
                    request(unit, owner, self._clock.now())

    def _is_wanted(self, owner_id: str) -> bool:
        """Whether calls wait and no job is there for them. Looks no further while no outcome is
        new."""
        with self._database.read() as unit:
            owner, heads = _judged_by(unit, owner_id), intake.heads(unit)
            if owner is None or heads == self._judged.get(owner_id):
                return False
            if is_busy(unit, owner, self._clock.now()):
                return False
            with suppress(NotFound):
                spec = self._catalog.get(owner.task)
                if audit.next_drawn(unit, spec, owner, 1):
                    return True
        self._judged[owner_id] = heads
        return False


def is_busy(unit: ReadUnit, owner: Owner, at: datetime) -> bool:
    """Whether a job for the split is under way, or was queued only just. Behind several jobs that
    failed the next one comes later and later."""
    made = [
        job for job in queue.list_jobs(unit, name=JOB) if job.arguments.get("owner_id") == owner.id
    ]
    if not made or any(job.status in _UNDER_WAY for job in made):
        return bool(made)
    failures = len(list(takewhile(lambda job: job.status is JobStatus.FAILED, made)))
    pause = min(LONGEST, EVERY * (1 << min(failures, _DOUBLINGS)))
    return timedelta(0) <= at - made[0].created_at < pause


def request(unit: WriteUnit, owner: Owner, at: datetime) -> None:
    """Queue the job."""
    queue.enqueue(unit, JOB, {"owner_id": owner.id}, at=at, max_attempts=1)


@dataclass(frozen=True, slots=True)
class Judge:
    """Handler of the job ``rollout.judge``. ``resolve`` opens a backend by reference. Its result is
    {judged, failed}."""

    database: Database
    catalog: Catalog
    clock: Clock
    resolve: Callable[[str], Backend]

    def __call__(self, job: JobContext, arguments: dict[str, Any]) -> Mapping[str, Any]:
        with self.database.read() as unit:
            owner = _judged_by(unit, arguments["owner_id"])
            if owner is None:
                return {"judged": 0, "failed": 0}
            spec = self.catalog.get(owner.task)
            found = audit.next_drawn(unit, spec, owner, audit.MOST)
        waiting = [one for one in found if isinstance(one.input, str)]
        return asyncio.run(self._judge(job, spec, owner.judge, waiting))

    async def _judge(
        self, job: JobContext, spec: TaskSpec, judge: str, waiting: list[Drawn]
    ) -> dict[str, int]:
        """One call after the other. A judge that fails several times in a row is left alone."""
        judged, failed, row, last = 0, 0, 0, ""
        begun = self.clock.monotonic()
        backend = self.resolve(judge)
        for one in waiting:
            job.check()
            if self.clock.monotonic() - begun >= LASTS_S or row >= _FAILURES:
                break
            try:
                output = await _answer(backend, spec, str(one.input))
            except (InhouseError, TimeoutError) as error:
                failed, row, last = failed + 1, row + 1, str(error) or type(error).__name__
                continue
            row = 0
            judged += self._store(spec, judge, one, output)
            job.progress(judged + failed, len(waiting), f"asking {judge}")
        if row >= _FAILURES:
            raise BackendError(f"{judge} failed {row} times in a row: {last}", code="judge-failed")
        return {"judged": judged, "failed": failed}

    def _store(self, spec: TaskSpec, judge: str, one: Drawn, output: Mapping[str, Any]) -> bool:
        """Whether it is a label now; not when somebody was first, or the split has ended."""
        with suppress(Conflict, NotFound), self.database.write() as unit:
            audit.label(
                unit,
                self.catalog,
                spec,
                one.interaction_id,
                {"output": output},
                author=f"{audit.JUDGE}{judge}"[:128],
                at=self.clock.now(),
            )
            return True
        return False


def _judged_by(unit: ReadUnit, owner_id: str, *, lock: bool = False) -> Owner | None:
    """That rollout or experiment, while it has the split and a judge."""
    owner = find_owner(unit, owner_id, lock=lock)
    return owner if owner is not None and owner.judge else None


class _Unrecorded:
    """What a judge uses up is in no figure of served calls."""

    def note(self, backend: Backend, reply: Reply) -> None:
        return


async def _answer(backend: Backend, spec: TaskSpec, text: str) -> Mapping[str, Any]:
    messages = (Message("user", render(spec, text) if spec.prompt else text),)
    question = Question(task=spec, text=text, messages=messages)
    async with asyncio.timeout(TIMEOUT_S):
        found = await ask_task(backend, backend.reference, spec, question, _Unrecorded())
    return found.output
