"""A general model audits drawn calls: it is asked what the task asks, and its answer is the label.

It is told neither the arm nor the answer. Where it fails there is no label.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from inhouse.core.clock import Clock
from inhouse.core.errors import BackendError, Conflict, InhouseError, NotFound
from inhouse.core.states import JobStatus
from inhouse.db.unit import Database, ReadUnit, WriteUnit
from inhouse.gateway.answer import ask_task
from inhouse.inference.base import Backend, Message, Question, Reply
from inhouse.jobs import queue
from inhouse.jobs.handler import JobContext
from inhouse.rollout import audit, records
from inhouse.rollout.audit import Drawn
from inhouse.rollout.records import RolloutRecord
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskSpec

JOB: Final = "rollout.judge"
EVERY: Final = timedelta(seconds=60)
"""Time between the beginnings of two jobs for one rollout."""
LASTS_S: Final = 60.0
"""Seconds after which a job begins no other call; the next one goes on."""
TIMEOUT_S: Final = 60.0
_FAILURES: Final = 5
_UNDER_WAY: Final = (JobStatus.QUEUED, JobStatus.RUNNING)


def is_busy(unit: ReadUnit, rollout: RolloutRecord, at: datetime) -> bool:
    """Whether a job for the rollout is under way, or was queued only just."""
    return any(
        job.status in _UNDER_WAY or timedelta(0) <= at - job.created_at < EVERY
        for job in queue.list_jobs(unit, name=JOB)
        if job.arguments.get("rollout_id") == rollout.id
    )


def request(unit: WriteUnit, rollout: RolloutRecord, at: datetime) -> None:
    """Queue the job."""
    queue.enqueue(unit, JOB, {"rollout_id": rollout.id}, at=at, max_attempts=1)


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
            rollout = records.get(unit, arguments["rollout_id"])
            spec = self.catalog.get(rollout.task)
            waiting = [] if rollout.is_over else self._waiting(unit, spec, rollout)
        return asyncio.run(self._judge(job, spec, rollout, waiting))

    def _waiting(self, unit: ReadUnit, spec: TaskSpec, rollout: RolloutRecord) -> list[Drawn]:
        found = audit.next_drawn(unit, spec, rollout, audit.MOST)
        return [one for one in found if isinstance(one.input, str)]

    async def _judge(
        self, job: JobContext, spec: TaskSpec, rollout: RolloutRecord, waiting: list[Drawn]
    ) -> dict[str, int]:
        """One call after the other. A judge that fails several times in a row is left alone."""
        judged, failed, row, last = 0, 0, 0, ""
        begun = self.clock.monotonic()
        backend = self.resolve(rollout.plan.judge)
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
            judged += self._store(spec, rollout, one, output)
            job.progress(judged + failed, len(waiting), f"asking {rollout.plan.judge}")
        if row >= _FAILURES:
            raise BackendError(
                f"{rollout.plan.judge} failed {row} times in a row: {last}", code="judge-failed"
            )
        return {"judged": judged, "failed": failed}

    def _store(
        self, spec: TaskSpec, rollout: RolloutRecord, one: Drawn, output: Mapping[str, Any]
    ) -> bool:
        """Whether it is a label now; not when somebody was first, or the rollout has ended."""
        author = f"{audit.JUDGE}{rollout.plan.judge}"[:128]
        with suppress(Conflict, NotFound), self.database.write() as unit:
            audit.label(
                unit,
                self.catalog,
                spec,
                one.interaction_id,
                {"output": output},
                author=author,
                at=self.clock.now(),
            )
            return True
        return False


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
