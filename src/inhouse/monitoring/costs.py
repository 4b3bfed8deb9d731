"""What tasks cost and how fast they answer, and how two spans of time compare."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from inhouse.core.errors import Invalid
from inhouse.db.unit import ReadUnit
from inhouse.monitoring.queries import CallFigures, Window, call_figures


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCost:
    """A task in one window: its references, and their sum. ``own_share`` in [0, 1] of its calls."""

    task: str
    calls: int
    cost: float
    own_share: float
    references: tuple[CallFigures, ...]

    @property
    def cost_per_call(self) -> float:
        return self.cost / self.calls


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A task before and after; None where it had no answered call in that window."""

    task: str
    before: TaskCost | None
    after: TaskCost | None

    @property
    def saved_per_call(self) -> float | None:
        """How much less a call costs; negative when it costs more, None when there is no pair."""
        if self.before is None or self.after is None:
            return None
        return self.before.cost_per_call - self.after.cost_per_call


def task_costs(unit: ReadUnit, window: Window) -> list[TaskCost]:
    """Every task with an answered call in the window, by name. Raises Invalid (``window``) for one
    that ends before it begins."""
    if window.until <= window.since:
        raise Invalid("a window ends after it begins", code="window")
    by_task: dict[str, list[CallFigures]] = {}
    for figures in call_figures(unit, window):
        by_task.setdefault(figures.task, []).append(figures)
    return [_sum(task, found) for task, found in by_task.items()]


def compare(unit: ReadUnit, *, before: Window, after: Window) -> list[Change]:
    """Tasks with an answered call in either window, by name."""
    old = {cost.task: cost for cost in task_costs(unit, before)}
    new = {cost.task: cost for cost in task_costs(unit, after)}
    return [
        Change(task=task, before=old.get(task), after=new.get(task))
        for task in sorted(old.keys() | new.keys())
    ]


def _sum(task: str, references: Sequence[CallFigures]) -> TaskCost:
    calls = sum(figures.calls for figures in references)
    own = sum(figures.calls for figures in references if figures.hosting == "own")
    return TaskCost(
        task=task,
        calls=calls,
        cost=math.fsum(figures.cost for figures in references),
        own_share=own / calls,
        references=tuple(references),
    )
