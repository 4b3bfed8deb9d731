"""What the models of a task came to, as it travels."""

from __future__ import annotations

from datetime import datetime

from inhouse.client.control import Answer
from inhouse.client.traffic import Traffic


class Success(Answer):
    """``good`` of ``calls`` for which the model was chosen were answered by it; ``share`` in
    [0, 1]."""

    calls: int
    good: int
    share: float


class Score(Answer):
    """Mean item score in [0, 1] of so many calls whose truth is known."""

    items: int
    mean: float


class ModelFigures(Answer):
    """One model of a task. ``share`` in [0, 1] of the answered calls.

    ``outcomes``: score by late truths, which are given without knowing the model. ``corrections``:
    score by what people chose to correct. Both, and ``success``, are of calls for which the model
    was chosen; what it did not answer is worth 0. Null where there is nothing to tell from.
    """

    reference: str
    hosting: str
    traffic: Traffic
    share: float
    success: Success | None
    outcomes: Score | None
    corrections: Score | None
    cost_per_call: float | None


class TaskFigures(Answer):
    """A task in the whole hours ``[since, until)``, its models by answered calls.

    ``success`` of the models is counted in the newest ``looked_at`` calls (at most 2,000), which
    are all of the window if ``is_complete``; scores in the newest 2,000 statements of a kind.
    """

    task: str
    since: datetime
    until: datetime
    total: Traffic
    models: list[ModelFigures]
    looked_at: int
    is_complete: bool
