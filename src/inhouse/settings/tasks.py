"""``[tasks.<name>]``: what is asked, how traffic moves to a candidate, when it is trained again."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import Field

from inhouse.settings.section import Name, Section

_MOST_CALLS: Final = 10_000_000


class OnFailure(Section):
    """What a caller gets instead of an error when nothing could answer."""

    value: float | str | list[Any] | dict[str, Any]
    """A label of the choice, a number in the score's range, a text, `[]` for no spans, or the
    object of a json task."""
    flagged: Literal[True] = True
    """The answer says that it is none of a model; this cannot be switched off."""


RolloutMetric = Literal["success", "correct", "error", "p95", "p99"]


class RolloutSettings(Section):
    """How traffic moves to a candidate."""

    steps: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        (10, 30, 50, 60, 70, 80, 90, 100), max_length=100
    )
    """Per cent of the units that the candidate gets, step by step; the last is 100."""
    margin: float = Field(0.05, gt=0, lt=1)
    """How much worse may still count as not worse, as a share of calls."""
    min_success: float = Field(0.95, ge=0, lt=1)
    """Least share of calls that must be answered in time and valid; 0: no such limit."""
    max_p95_s: float = Field(3.0, ge=0, allow_inf_nan=False)
    """The time that 95 % of calls must stay below, in seconds; 0: no such limit."""
    min_score: float = Field(0.0, ge=0, lt=1)
    """Least mean score of answers whose truth became known; 0: no such limit."""
    first_calls: int = Field(100, ge=1, le=_MOST_CALLS)
    """Calls of the candidate before the first advance; a rollback waits for none."""
    step_calls: int = Field(50, ge=1, le=_MOST_CALLS)
    """Calls of the candidate at every later step."""
    dwell_s: float = Field(300.0, ge=0, allow_inf_nan=False)
    """Least time at a step, in seconds."""
    horizon: int = Field(20_000, ge=1, le=_MOST_CALLS)
    """Calls of both after which a rollout without a verdict is held."""
    time_limit_s: float = Field(30 * 86_400.0, gt=0, allow_inf_nan=False)
    """Seconds after which a rollout without a verdict is held, and an experiment without a winner
    ends."""
    bake_s: float = Field(86_400.0, ge=0, allow_inf_nan=False)
    """Seconds for which the incumbent keeps a share after the last step."""
    hold_back: float = Field(5.0, ge=0, lt=100)
    """That share, in per cent."""
    guardrails: tuple[RolloutMetric, ...] = ("success", "correct", "p95", "p99")
    """What rolls a worse candidate back."""
    promote_on: tuple[RolloutMetric, ...] = ("success",)
    """What must each be certified to be not worse before the candidate gets more; among the
    guardrails."""
    observed: tuple[RolloutMetric, ...] = ()
    """What is only shown."""
    shadow_inputs: int = Field(0, ge=0, le=_MOST_CALLS)
    """Most calls that are copied to the candidate before it gets any; 0: it starts with some."""
    audit: float = Field(0.0, ge=0, le=1)
    """Share of the calls of a split, or of a shadow, that is drawn for an audit of the answer,
    whatever the arm."""
    judge: str = ""
    """General model that audits them, as `<upstream>/<model>`; not for tasks of kind text."""
    automation: Literal["off", "ask", "on"] = "ask"
    """Training and rollouts that begin by themselves. `off`: none. `ask`: each one is proposed, and
    begins when a person accepts it. `on`: they begin."""
    min_gain: float = Field(0.05, ge=0, le=10)
    """How much better a version must be to be rolled out by itself: a share of the task score of
    what answers now. One that is faster or cheaper need only be certified not worse."""


class TrainingSettings(Section):
    """When a task is trained again. `rollout.automation` says whether that is proposed or done."""

    recipe: str = ""
    """How to train (`inhouse train recipes`); empty: the default."""
    retrain_after: int = Field(100, ge=0)
    """New corrections, outcomes and imported examples since the snapshot of the last run that are
    enough for another; 0: their number starts none. The first run waits for them too."""
    retrain_days: float = Field(7.0, ge=0, le=3650)
    """Days after the last run that are enough, with anything new at all; 0: never."""
    retrain_on_drift: bool = True
    """Drift that was found after the last run is enough, with anything new at all."""
    min_interval_s: float = Field(3600.0, ge=0, le=3650 * 86_400)
    """Least time from one run to the next that begins by itself, in seconds. Every failed run in a
    row doubles it, up to 7 days."""


class TaskSettings(Section):
    """A task: a named, typed question. With `builtin`, all else is optional."""

    builtin: Name | None = None
    """Start from a task in the box (`inhouse task list --builtin`); other keys override it."""
    kind: Literal["score", "choice", "text", "spans", "json"] | None = None
    """`score`: a number in `range`. `choice`: one of `labels`. `text`: whatever the model says.
    `spans`: places in the input, each with one of `labels`. `json`: an object that fits
    `schema`."""
    description: str | None = None
    """One sentence for people."""
    labels: tuple[str, ...] | None = None
    """Of a choice: the answers allowed, at least two. Of spans: their types, at least one."""
    schema_: dict[str, Any] | str | None = Field(None, alias="schema")
    """Of json: the JSON Schema of the answer, an object with `properties`; a table here, or a
    `.json` file beside `inhouse.toml`."""
    range: tuple[float, float] | None = None
    """Of a score: lowest and highest value."""
    levels: dict[str, float] | None = None
    """Of a score: words with their values, for models that answer by the likelihood of a word."""
    prompt: str | None = None
    """Jinja template for general models: a file beside `inhouse.toml`, or the text itself. A text
    task without one passes the messages of a chat through as they are."""
    chain: tuple[str, ...] | None = None
    """General models, first choice first."""
    unit: Literal["request", "document", "user"] | None = None
    """What calls name as their unit, which always meets the same arm and counts once in a rollout:
    a `user` or `document` by the mean of its first calls, else by its first call alone."""
    timeout_s: float | None = Field(None, gt=0, le=600)
    """Deadline of one call over all tries, in seconds."""
    try_timeout_s: float | None = Field(None, gt=0, le=600)
    """Longest time for one try while other models are left; by default half of the time left."""
    coalesce: bool | None = None
    """Identical calls at the same moment are asked once; only for models at temperature 0."""
    max_input_tokens: int | None = Field(None, ge=16)
    """Longest input sent to a model, counted as word pieces."""
    on_long: Literal["window", "head", "refuse"] | None = None
    """Longer input: keep beginning and end, keep the beginning, or refuse with 422. Spans are
    counted in what is kept, so a spans task keeps the beginning or refuses."""
    on_failure: OnFailure | Literal["error"] | None = None
    """What to answer when every model failed: an error, or a flagged value."""

    retention_days: int | None = Field(None, ge=1, le=36_500)
    """Days after which the content of calls is erased, with what was said about them and the
    examples made of them; counts stay. Not set: it is kept."""

    rollout: RolloutSettings = RolloutSettings()
    """How traffic moves to a candidate."""
    training: TrainingSettings = TrainingSettings()
    """When the task is trained again."""
