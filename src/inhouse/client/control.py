"""What travels on the control routes, as pydantic models. Times are UTC, RFC 3339.

Answers are read straight from the records of the product (``from_attributes``); requests refuse
fields that they do not know.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Reference = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Id = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]


class Answer(BaseModel):
    model_config = ConfigDict(from_attributes=True)


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Task(Answer):
    """A declared task. ``words`` are what a model may answer with: labels, or levels of a score."""

    name: str
    kind: str
    description: str
    words: list[str]
    low: float
    high: float
    chain: list[str]
    unit: str
    timeout_s: float
    revision: str


class TaskDetail(Task):
    """A task with its prompt (Jinja source), what callers get when nothing could answer, and the
    JSON Schema of a json task's answers."""

    prompt: str
    max_input_tokens: int
    on_long: str
    on_failure: dict[str, Any] | None
    schema_: dict[str, Any] | None = Field(validation_alias="schema", serialization_alias="schema")


class Interaction(Answer):
    """One recorded call. ``attempts`` is the trace of its route; ``unit`` and ``subject`` are
    salted hashes; ``raw`` is what a general model said word for word. ``shadow_of``: it is a copy
    of that call, answered by a candidate in shadow for nobody to see."""

    id: str
    created_at: datetime
    task: str | None
    task_revision: str | None
    status: str
    error_code: str | None
    input: Any
    output: Any
    raw: str | None
    probabilities: dict[str, float] | None
    reference: str | None
    hosting: str | None
    arm: str | None
    route_revision: int | None
    rescued: bool
    unit: str | None
    subject: str | None
    tags: dict[str, str] | None
    attempts: list[dict[str, Any]] | None
    latency_ms: float
    input_tokens: int
    output_tokens: int
    cost: float
    key_id: str | None
    shadow_of: str | None = None


class InteractionPage(Answer):
    """Interactions, newest first; ``next`` is the ``before`` of the page that follows, if any.

    A search for a text or a tag that did not fill its page read ``searched`` calls, and none before
    ``reached``, if there are any.
    """

    items: list[Interaction]
    next: str | None
    searched: int | None = None
    reached: datetime | None = None


class Feedback(Answer):
    """A statement about an interaction."""

    id: str
    interaction_id: str
    kind: str
    value: Any
    author: str | None
    created_at: datetime


class InteractionDetail(Interaction):
    """One interaction with what was said about it, oldest first."""

    feedback: list[Feedback]


class Dataset(Answer):
    """A dataset snapshot. ``counts`` by split; ``dropped`` says how many were left out, and why;
    ``rebuilt_at``: when the same content was built again, the last time."""

    id: str
    task: str
    task_revision: str
    content_hash: str
    settings: dict[str, Any]
    counts: dict[str, Any]
    dropped: dict[str, Any]
    created_at: datetime
    rebuilt_at: datetime | None


class TrainingRun(Answer):
    """One execution of a recipe on a snapshot."""

    id: str
    task: str
    task_revision: str
    recipe: str
    settings: dict[str, Any]
    snapshot_id: str
    snapshot_hash: str
    status: str
    job_id: str
    error: str | None
    metrics: dict[str, Any] | None
    version_id: str | None
    actor: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class TrainingStart(Request):
    """Start a training run; without ``snapshot_id`` on the newest snapshot of the task."""

    task: Name
    snapshot_id: Id | None = None
    recipe: Name | None = None
    settings: dict[str, Any] = {}


class TrainingEvent(Answer):
    """A step of a run, counted from 1. ``kind``: status ({status, error?}) or progress ({done,
    total, note})."""

    sequence: int
    at: datetime
    kind: str
    data: Any


class Version(Answer):
    """A model version. ``reference`` is how calls and routes name it: ``<task>@<number>``."""

    id: str
    reference: str
    task: str
    number: int
    task_revision: str
    status: str
    artifact: str
    store_version: str
    manifest_digest: str
    recipe: str
    run_id: str | None
    snapshot_id: str | None
    rejected: dict[str, Any] | None
    created_at: datetime


class Evaluation(Answer):
    """Scores of several references on one frozen split. ``verdict``: pass, fail or inconclusive."""

    id: str
    task: str
    task_revision: str
    candidate: str
    version_id: str | None
    snapshot_id: str
    split: str
    status: str
    verdict: str | None
    reasons: Any
    results: Any
    comparisons: Any
    settings: dict[str, Any]
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class Route(Answer):
    """One revision of a task's route. ``weight_bp`` of 10,000 units go to the candidate."""

    task: str
    revision: int
    incumbent: str
    candidate: str | None
    weight_bp: int
    chain: list[str]
    pin: str | None
    actor: str
    reason: str
    created_at: datetime | None


class RouteChange(Request):
    """Send ``weight`` per cent of a task's units to a candidate (by default the one it has).

    ``expect_revision``: refuse with 409 when the route has moved since.
    """

    weight: float = Field(ge=0, le=100)
    candidate: Reference | None = None
    reason: Reason
    expect_revision: int | None = Field(None, ge=0)


class Rollback(Request):
    """Send everything back to the incumbent, at once."""

    reason: Reason
    expect_revision: int | None = Field(None, ge=0)


class JobProgress(Answer):
    """``done`` of ``total`` steps (``total`` 0: not known), and what the job does now."""

    done: float
    total: float
    note: str


class Job(Answer):
    """A unit of background work."""

    id: str
    name: str
    arguments: dict[str, Any]
    status: str
    attempts: int
    max_attempts: int
    progress: JobProgress | None
    result: dict[str, Any] | None
    error: str | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class IndependenceParts(Answer):
    """What the score is made of: points, and the shares behind them."""

    score: float
    deployment_points: float
    dependence_points: float
    parity_points: float
    deployed_percent: float
    external_share: float
    local_share: float
    parity_share: float


class Parity(Answer):
    """How the own model that answers now compares with the general model on the frozen split."""

    certified: bool
    verdict: str
    general: str
    general_about: str
    difference: float
    low: float
    high: float
    evaluation_id: str


class TaskIndependence(Answer):
    """One task: calls by who answered, and whether its own model is certified as good."""

    task: str
    own: int
    local: int
    external: int
    unanswered: int
    own_percent: float
    own_version: str | None
    parity: Parity | None


class IndependenceStep(Answer):
    """Something to do, and the points that the score would rise by."""

    task: str
    words: str
    points: float


class Independence(Answer):
    """How far the tasks can live without upstreams: 0 to 100; null without a call in the window."""

    score: float | None
    parts: IndependenceParts | None
    sources_formula: float | None
    since: datetime
    until: datetime
    days: int
    tasks: list[TaskIndependence]
    steps: list[IndependenceStep]


class Model(Answer):
    """A model reference, as OpenAI's list of models says it."""

    id: str
    created: int
    object: Literal["model"] = "model"
    owned_by: str


class ModelList(Answer):
    """Everything that ``model`` may name in a chat request."""

    object: Literal["list"] = "list"
    data: list[Model]
