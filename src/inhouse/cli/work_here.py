"""A job that a command waits for: done in this process, unless a worker has it already."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from inhouse.cli.context import Context
    from inhouse.jobs.queue import JobRecord, Progress

_LOOK_S = 0.2


def work_here(
    context: Context, job_id: str, told: Callable[[Progress], None] = lambda _: None
) -> JobRecord:
    """The job as it is when it has ended. ``told`` hears how far it is."""
    from inhouse.jobs import queue

    attempt, pause = start_attempt(context, job_id), threading.Event()
    while True:
        with context.app.database.read() as unit:
            job = queue.get(unit, job_id)
        if job.progress is not None:
            told(job.progress)
        if job.is_final:
            attempt.join()
            return job
        if not attempt.is_alive():
            attempt = start_attempt(context, job_id)
        pause.wait(_LOOK_S)


def start_attempt(context: Context, job_id: str) -> threading.Thread:
    """A thread that does one attempt at the job, if nobody else has it and it is due."""
    work = context.app.make_worker(1).run_next
    thread = threading.Thread(target=work, args=(job_id,), name="work-here", daemon=True)
    thread.start()
    return thread
