"""What somebody should look at now, worst first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from inhouse.core.errors import Unavailable
from inhouse.core.states import RunStatus, VersionStatus
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.gate import VerdictKind
from inhouse.evaluation.records import list_evaluations
from inhouse.gateway.breaker import BreakerState
from inhouse.gateway.breakers import Breakers, BreakerView
from inhouse.interactions.record import Recorder
from inhouse.jobs.pause import paused
from inhouse.registry.versions import list_versions
from inhouse.store.quarantine import Mark
from inhouse.store.store import ModelStore
from inhouse.training.runs import list_runs

_SUCCESS: Final = 0.95
_FEW: Final = 20
_RUNS: Final = 50


class Counted(Protocol):
    """Calls of a task, by who answered."""

    @property
    def task(self) -> str: ...
    @property
    def answered(self) -> int: ...
    @property
    def unanswered(self) -> int: ...


class Level(StrEnum):
    """How bad: something fails now, something waits for a person, or only worth knowing."""

    BAD = "bad"
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """One thing to look at. ``code`` says which kind; ``about`` is the reference, task or id that
    it is about; ``text`` says the effect and what to do."""

    code: str
    level: Level
    title: str
    text: str
    about: str
    since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """What a running server knows of itself. ``settings_error``: what is wrong with inhouse.toml
    now, "" when nothing is."""

    breakers: Breakers
    store: ModelStore
    recorder: Recorder
    settings_error: str


def concerns(unit: ReadUnit, server: Server, counts: Sequence[Counted]) -> list[Concern]:
    """Everything that needs somebody, worst first; of one level in the order of the story.
    ``counts`` are the calls of the window."""
    states = server.breakers.states()
    found = [
        *_recording(server.recorder),
        *_settings(server.settings_error),
        *map(_breaker, filter(lambda one: one.state is not BreakerState.CLOSED, states)),
        *map(_quarantine, server.store.quarantined()),
        *map(_failing, filter(_is_failing, counts)),
        *_paused(unit),
        *_training(unit),
        *_gates(unit),
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


def _paused(unit: ReadUnit) -> list[Concern]:
    found = paused(unit)
    if found is None:
        return []
    return [
        Concern(
            code="jobs-paused",
            level=Level.WARN,
            title="Background work is paused",
            text=f"{found.actor} paused it{f': {found.reason}' if found.reason else ''}. No job,"
            " training or rollout begins until somebody resumes it.",
            about="",
            since=found.at,
        )
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
