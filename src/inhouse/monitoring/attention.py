"""What somebody should look at now, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from inhouse.core.errors import Unavailable
from inhouse.core.states import JobStatus, RunStatus, VersionStatus
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.gate import VerdictKind
from inhouse.evaluation.records import list_evaluations
from inhouse.gateway.breaker import BreakerState
from inhouse.gateway.breakers import Breakers, BreakerView
from inhouse.interactions.record import Recorder
from inhouse.jobs.queue import list_jobs
from inhouse.monitoring.concern import Concern, Level
from inhouse.monitoring.waiting import waiting
from inhouse.registry.versions import list_versions
from inhouse.store.quarantine import Mark
from inhouse.store.store import ModelStore
from inhouse.training.execute import JOB as TRAINING_JOB
from inhouse.training.runs import list_runs

_SUCCESS: Final = 0.95
_FEW: Final = 20
_RUNS: Final = 50
_LATELY: Final = timedelta(days=1)


class Counted(Protocol):
    """Calls of a task, by who answered."""

    @property
    def task(self) -> str: ...
    @property
    def answered(self) -> int: ...
    @property
    def unanswered(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a running server knows of itself. ``settings_error``: what is wrong with inhouse.toml
    now, "" when nothing is."""

    breakers: Breakers
    store: ModelStore
    recorder: Recorder
    settings_error: str


def concerns(
    unit: ReadUnit, server: Server, counts: Sequence[Counted], now: datetime
) -> list[Concern]:
    """Everything that needs somebody, worst first; of one level in the order of the story.
    ``counts`` are the calls of the window."""
    states = server.breakers.states()
    found = [
        *_recording(server.recorder),
        *_settings(server.settings_error),
        *map(_breaker, filter(lambda one: one.state is not BreakerState.CLOSED, states)),
        *map(_quarantine, server.store.quarantined()),
        *map(_failing, filter(_is_failing, counts)),
        *failed_jobs(unit, now),
        *_training(unit),
        *_gates(unit),
        *waiting(unit, now),
    ]
    return sorted(found, key=lambda one: list(Level).index(one.level))


def _recording(recorder: Recorder) -> list[Concern]:
    try:
        recorder.admit()
    except Unavailable as error:
        return [
            Concern(
                code="recording-fails",
                level=Level.BAD,
                title="Calls are refused",
                text=f"{error.message}: {error.hint}.",
                about="",
            )
        ]
    return []


def _settings(error: str) -> list[Concern]:
    if not error:
        return []
    return [
        Concern(
            code="settings-invalid",
            level=Level.BAD,
            title="inhouse.toml holds an error",
            text=f"{error}. The settings before the change go on serving.",
            about="",
        )
    ]


def _breaker(view: BreakerView) -> Concern:
    half = view.state is BreakerState.HALF_OPEN
    why = f" The last failure: {view.error}." if view.error else ""
    return Concern(
        code="breaker-open",
        level=Level.WARN if half else Level.BAD,
        title=f"{view.reference} is {'tried again' if half else 'left alone'}",
        text=f"{view.failures} failures in a row opened its breaker. Fallbacks answer.{why}",
        about=view.reference,
        since=view.opened_at,
    )


def _quarantine(mark: Mark) -> Concern:
    return Concern(
        code="version-damaged",
        level=Level.BAD,
        title=f"{mark.name} {mark.version} is in quarantine",
        text=f"{mark.message}. Publish it again, or restore the files and verify the store.",
        about=f"{mark.name}@{mark.version}",
        since=mark.at,
    )


def _is_failing(count: Counted) -> bool:
    calls = count.answered + count.unanswered
    return calls >= _FEW and count.answered < _SUCCESS * calls


def _failing(count: Counted) -> Concern:
    calls = count.answered + count.unanswered
    return Concern(
        code="calls-fail",
        level=Level.BAD,
        title=f"Calls of {count.task} fail",
        text=f"{count.unanswered:,} of {calls:,} in the window got no answer of a model.",
        about=count.task,
    )


def failed_jobs(unit: ReadUnit, now: datetime) -> list[Concern]:
    """Background work that failed lately, the newest of each name. Training tells its own."""
    since = now - _LATELY
    newest = {
        job.name: job
        for job in reversed(list_jobs(unit, status=JobStatus.FAILED, limit=_RUNS))
        if job.finished_at is not None and job.finished_at >= since and job.name != TRAINING_JOB
    }
    return [
        Concern(
            code="job-failed",
            level=Level.WARN,
            title=f"The job {job.name} failed",
            text=f"{(job.error or 'It said nothing').rstrip('.')}. "
            f"Repeat it with `inhouse jobs retry {job.id}`.",
            about=job.id,
            since=job.finished_at,
        )
        for job in newest.values()
    ]


def _training(unit: ReadUnit) -> list[Concern]:
    """Tasks whose newest run failed."""
    newest = {run.task: run for run in reversed(list_runs(unit, limit=_RUNS))}
    return [
        Concern(
            code="training-failed",
            level=Level.WARN,
            title=f"Training for {run.task} failed",
            text=(run.error or "The run ended without a version").rstrip(".") + ".",
            about=run.id,
            since=run.finished_at,
        )
        for run in newest.values()
        if run.status is RunStatus.FAILED
    ]


def _gates(unit: ReadUnit) -> list[Concern]:
    """Tasks whose newest version waits behind a gate that it did not pass."""
    newest = {version.task: version for version in reversed(list_versions(unit))}
    found = []
    for version in newest.values():
        if version.status is not VersionStatus.CANDIDATE:
            continue
        evaluation = next(iter(list_evaluations(unit, version_id=version.id, limit=1)), None)
        if evaluation is None or evaluation.verdict in (None, VerdictKind.PASS):
            continue
        fails = evaluation.verdict == VerdictKind.FAIL
        found.append(
            Concern(
                code="gate-failed" if fails else "gate-inconclusive",
                level=Level.WARN,
                title=f"{version.reference} {'failed' if fails else 'is not decided by'} its gate",
                text=(" ".join(evaluation.reasons or ()) or "See its evaluation").rstrip(".") + ".",
                about=evaluation.id,
                since=evaluation.finished_at,
            )
        )
    return found
