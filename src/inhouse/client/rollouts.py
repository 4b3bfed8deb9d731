"""What travels on the routes of rollouts."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from inhouse.client.control import Answer, Id, Name, Reason, Reference, Request


class Rollout(Answer):
    """A plan that moves a task to a candidate, and where it stands.

    ``state``: planned, shadowing, ramping, held (by evidence), paused (by a person), baking, done,
    rolled_back or aborted. ``weight_bp`` of 10,000 units are the candidate's now. ``step`` counts
    from 0. ``stopped_from`` is the state that a held or paused one goes back to.
    """

    id: str
    task: str
    incumbent: str
    candidate: str
    state: str
    step: int
    weight_bp: int
    plan: dict[str, Any]
    by_user: bool
    revision: int
    route_revision: int
    stopped_from: str | None
    superseded_by: str | None
    actor: str
    reason: str
    created_at: datetime
    step_at: datetime
    ended_at: datetime | None


class RolloutDecision(Answer):
    """One decision as it was made, by evidence (actor ``rollout``) or by a person.

    ``kind``: start, ramp, advance, bake, finish, hold, roll_back, abort, pause or resume.
    ``evidence``: numbers by the name of their check. ``route_revision``: the revision of the route
    that it made, null where the route stayed.
    """

    number: int
    kind: str
    before: str
    state: str
    step: int
    weight_bp: int
    reasons: list[str]
    evidence: dict[str, float]
    route_revision: int | None
    actor: str
    created_at: datetime


class RolloutCheck(Answer):
    """A condition: what is there (null: not known before the next call), what is needed, and
    whether it is met."""

    name: str
    met: bool
    value: float | None
    needed: float


class RolloutArm(Answer):
    """What an arm did, from the newest 5,000 outcomes. ``bad``: not answered, not in time, not
    valid, or rescued by a fallback. ``labels`` are arm-blind, ``correct`` their mean score."""

    arm: str
    reference: str
    calls: int
    bad: int
    p50_ms: float | None
    p95_ms: float | None
    labels: int
    correct: float | None


class RolloutShadow(Answer):
    """What a shadow found: inputs that both answered, how many of them have a label, evidence of
    harm and for the margin."""

    inputs: int
    harm: float
    certificate: float
    labels: int = 0


class RolloutDetail(Rollout):
    """A rollout with its decisions, oldest first, and the newest reading of its evidence (null
    before the first outcome).

    ``checks``: what the next step needs; ``stops``: what holds it when it is not met. Both are
    empty once it is over."""

    decisions: list[RolloutDecision]
    reading: dict[str, Any] | None
    checks: list[RolloutCheck]
    stops: list[RolloutCheck]
    arms: list[RolloutArm]
    shadow: RolloutShadow | None


class RolloutReading(Answer):
    """The evidence at one moment of a rollout; ``number`` counts what was counted at once."""

    number: int
    at: datetime
    reading: dict[str, Any]


class RolloutPlan(Request):
    """What this rollout does otherwise than ``[tasks.<name>.rollout]`` says, by the names there."""

    steps: list[float] | None = None
    margin: float | None = None
    min_success: float | None = None
    max_p95_s: float | None = None
    min_score: float | None = None
    first_calls: int | None = None
    step_calls: int | None = None
    dwell_s: float | None = None
    horizon: int | None = None
    time_limit_s: float | None = None
    bake_s: float | None = None
    hold_back: float | None = None
    guardrails: list[str] | None = None
    observed: list[str] | None = None
    promote_on: list[str] | None = None
    audit: float | None = None
    judge: str | None = None


class RolloutStart(Request):
    """Move a task to a candidate, as ``[tasks.<name>.rollout]`` says, but for ``plan``.
    ``replace``: a rollout that runs is aborted first. ``shadow``: at most so many calls are copied
    to the candidate before it gets any (0: none), instead of what the settings say."""

    task: Name
    candidate: Reference
    reason: Reason
    replace: bool = False
    shadow: Annotated[int, Field(ge=0)] | None = None
    plan: RolloutPlan | None = None


class AuditItem(Answer):
    """A call that was drawn: what was asked and answered, and nothing that tells by whom."""

    interaction_id: str
    input: Any
    output: Any


class AuditLabel(Request):
    """What is right about a drawn call: ``output`` is the right output, or ``correct`` says whether
    the answer is. One of both."""

    interaction_id: Id
    output: Any = None
    correct: bool | None = None


class RolloutChange(Request):
    """Pause, resume or roll back."""

    reason: Reason
