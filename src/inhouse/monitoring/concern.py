"""One thing that somebody should look at: what it is called, how bad it is, what it is about."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol


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


class Code(StrEnum):
    """Which kind; each has its runbook, ``docs/runbooks/<code>.md``."""

    RECORDING_FAILS = "recording-fails"
    DATABASE_CUT_OFF = "database-cut-off"
    SETTINGS_INVALID = "settings-invalid"
    CHAIN_DEAD = "chain-dead"
    BREAKER_OPEN = "breaker-open"
    VERSION_DAMAGED = "version-damaged"
    CALLS_FAIL = "calls-fail"
    BUDGET_USED = "budget-used"
    BUDGET_NEAR = "budget-near"
    ROLLOUT_ROLLED_BACK = "rollout-rolled-back"
    ROLLOUT_HELD = "rollout-held"
    ROLLOUT_ABORTED = "rollout-aborted"
    ROLLOUT_PAUSED = "rollout-paused"
    SPLIT_MISMATCH = "split-mismatch"
    EXPERIMENT_ENDED = "experiment-ended"
    TRAINING_FAILED = "training-failed"
    JOB_FAILED = "job-failed"
    GATE_FAILED = "gate-failed"
    GATE_INCONCLUSIVE = "gate-inconclusive"
    CANDIDATE_WAITS = "candidate-waits"
    DRIFT = "drift"
    JOBS_PAUSED = "jobs-paused"
    PROPOSAL_OPEN = "proposal-open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """One thing to look at. ``about`` is the reference, task, id or process that it is about;
    ``text`` says the effect and what to do; ``since``: when it began, where that is known."""

    code: Code
    level: Level
    title: str
    text: str
    about: str
    since: datetime | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from others."""
        return self.code.value, self.about[:LONGEST_ABOUT]


LONGEST_ABOUT = 255
