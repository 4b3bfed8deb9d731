"""What travels on the routes of experiments."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from inhouse.client.control import Answer, Name, Reason, Reference, Request

Judge = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00]*$")]


class ExperimentLook(Answer):
    """One look: the statistic, and the boundary that it had to reach at that ``fraction`` of the
    horizon; B minus A with its repeated confidence interval, null while an arm had too few
    outcomes, or each arm all alike."""

    number: int
    outcomes: int
    fraction: float
    z: float
    boundary: float
    difference: float | None
    low: float | None
    high: float | None
    at: datetime


class ExperimentArm(Answer):
    """One arm: its outcomes, their mean (null before the first), and the evidence that it is the
    worse one, which ends the experiment at 1,000."""

    reference: str
    outcomes: int
    mean: float | None
    harm: float


class Experiment(Answer):
    """Two references of a task compared at a fixed split, of which ``weight_bp`` of 10,000 units
    get B.

    ``metric``: success, correct, error or latency. ``horizon``: outcomes of both arms together
    (users, where units are users; labels, for correct and error). ``alpha``: the chance of a false
    winner over all ``looks``. ``days``: its time limit, null for none. ``audit``: share of its
    calls that is drawn for labels, ``judge``: the general model that gives them, "" for none.
    ``state``: running, concluded, inconclusive (the time limit passed), stopped (by a guardrail or
    a person) or aborted (somebody moved the route). ``incumbent_before`` answers again afterwards.
    ``outcomes``: so far. ``mismatch``: evidence that the split is not the declared one. ``winner``:
    a or b, null where no difference was shown. ``taken``: the looks so far, oldest first.
    """

    id: str
    task: str
    state: str
    metric: str
    weight_bp: int
    horizon: int
    looks: int
    alpha: float
    days: float | None
    audit: float
    judge: str
    a: ExperimentArm
    b: ExperimentArm
    by_user: bool
    outcomes: int
    mismatch: float
    taken: list[ExperimentLook]
    winner: str | None
    recommendation: str | None
    incumbent_before: str
    revision: int
    route_revision: int
    actor: str
    reason: str
    created_at: datetime
    ended_at: datetime | None
    ended_by: str | None
    why: str | None


class ExperimentStart(Request):
    """Compare two references of a task. ``weight``: per cent of the units that get B. Where
    ``days`` (the time limit), ``audit`` and ``judge`` are null, they are as the task declares them
    for rollouts; calls are drawn only where the metric is correct or error."""

    task: Name
    a: Reference
    b: Reference
    weight: float = Field(50.0, ge=1, le=99)
    metric: Literal["success", "correct", "error", "latency"] = "success"
    horizon: int = Field(ge=1, le=10_000_000)
    looks: int = Field(5, ge=1, le=20)
    alpha: float = Field(0.05, ge=0.001, le=0.2)
    days: float | None = Field(None, gt=0, le=3650)
    audit: float | None = Field(None, ge=0, le=1)
    judge: Judge | None = None
    reason: Reason


class ExperimentStop(Request):
    """End an experiment before its verdict."""

    reason: Reason
