"""Whether an own model can take a task over, as it travels."""

from __future__ import annotations

from typing import Literal

from inhouse.client.control import Answer

State = Literal["ok", "not yet", "unknown"]


class ReadinessLine(Answer):
    """One thing that must hold. ``value`` and ``bar`` in their own unit, null where there is none;
    ``words`` say both; ``next`` is what to do, "" when it is ok."""

    name: str
    state: State
    value: float | None
    bar: float | None
    words: str
    next: str


class Readiness(Answer):
    """A task and the own version in question; ``state`` is ok when every line is.
    ``answers_percent``: its share of the task's units now."""

    task: str
    reference: str | None
    answers_percent: float
    state: State
    lines: list[ReadinessLine]
