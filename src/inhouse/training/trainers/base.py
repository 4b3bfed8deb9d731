"""The port of trainers: what one is given, what it promises."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from inhouse.datasets.example import Example
from inhouse.tasks.spec import TaskSpec
from inhouse.training.preflight import Host, Preflight


class RecipeSettings(BaseModel):
    """What every recipe can be told. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    base: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    """Name of the base model in the ModelStore."""
    seed: int = Field(0, ge=0, lt=2**31)
    """Seed of everything that is drawn; the same seed and snapshot give the same model."""
    max_seconds: float = Field(1800.0, gt=0)
    """Longest time that training may take, in seconds; then the run fails."""
    threads: int = Field(1, ge=1, le=64)
    """Threads of the child process."""


S = TypeVar("S", bound=RecipeSettings)


class Report(Protocol):
    """Hears how far the training is: ``done`` of ``total``, what it does now, and, of trainers that
    learn in steps, a point of the loss curve."""

    def __call__(
        self, done: float, total: float, note: str, point: Mapping[str, Any] | None = None
    ) -> None:
        """``point``: see ``curve_point``."""
        ...


def curve_point(
    *,
    part: str,
    epoch: float,
    step: int,
    train_loss: float | None = None,
    seconds_left: float | None = None,
    valid_score: float | None = None,
) -> dict[str, Any]:
    """A point of a run's curves, as it stands in the run's events.

    ``part``: ``fold 1 of 3``, ..., ``final``; each has a curve of its own. ``epoch``: epochs done,
    with their fraction; 0 is the base as it is, with a linear head. ``step``: batches done in this
    part. ``train_loss``: mean since the point before. ``valid_score``: the main figure on the rows
    held out, at the end of an epoch of a fold, else None. ``seconds_left``: until the last epoch is
    done, at the speed so far. Nothing but ``valid_score`` was measured at epoch 0.
    """
    return {
        "part": part,
        "epoch": round(epoch, 3),
        "step": step,
        "train_loss": None if train_loss is None else round(train_loss, 5),
        "valid_score": None if valid_score is None else round(valid_score, 5),
        "seconds_left": None if seconds_left is None else round(seconds_left),
    }


class TrainingFailed(Exception):
    """The examples do not allow a model; the text says why."""


class TrainingStopped(Exception):
    """Training stopped because ``Work.cancelled`` said so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Generic[S]):
    """What a trainer gets. It writes below ``folder`` and ``kept`` only, and only reads ``base``.

    ``examples`` are of the splits train and valid. ``cancelled`` is asked between steps; when it
    says True the trainer raises ``TrainingStopped``. ``kept`` is a folder whose files the next
    attempt at the same run finds again; it holds no texts, and goes when the run has ended.
    """

    folder: Path
    kept: Path
    base: Path
    spec: TaskSpec
    examples: Sequence[Example]
    settings: S
    report: Report
    cancelled: Callable[[], bool]

    def check(self) -> None:
        """Raise TrainingStopped if training is to stop."""
        if self.cancelled():
            raise TrainingStopped


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A form of the weights: ``format`` and ``dtype`` as in a manifest, ``files`` in the folder."""

    id: str
    format: str
    dtype: str
    files: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """An input and what the trained model answers to it, computed before it was saved.

    ``variant``: the form of the weights that answers so; empty for the one that is served.
    """

    text: str
    output: Mapping[str, Any]
    probabilities: Mapping[str, float] | None = None
    variant: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedArtifact:
    """What a trainer made: all files below ``files``, cross-validated figures, facts for the
    manifest, and the probe."""

    files: Path
    variants: tuple[Variant, ...]
    metrics: Mapping[str, float]
    metadata: Mapping[str, Any]
    probe: tuple[Probe, ...]


class Trainer(Protocol[S]):
    """Turns examples into an artifact."""

    def check(
        self, spec: TaskSpec, examples: Sequence[Example], host: Host, settings: S
    ) -> Preflight:
        """Whether it can train this task on these examples here, and about how long it takes.
        Imports nothing heavy."""
        ...

    def train(self, work: Work[S]) -> TrainedArtifact:
        """Train. Called in a child process. Raises TrainingFailed, TrainingStopped."""
        ...
