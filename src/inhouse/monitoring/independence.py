"""How far the tasks can live without upstreams, as one figure from 0 to 100 with its parts.

    0.4 x D  +  40 x (1 - E - L/2)  +  20 x P

over the tasks with a call in the window. D: mean over the tasks of the percentage of answered calls
that own models answered. E, L: shares of all answered calls that an external API, or a general
model on our own machines, answered. P: share of the tasks whose own model, the one that answers
now, is certified not worse than the general model on the frozen test split. All external is 0, all
local general 20, all own and as good 100. Calls that nothing answered are shown, but in no share.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

DEPLOYMENT, DEPENDENCE, PARITY = 40.0, 40.0, 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskUse:
    """One task with a call in the window: who answered how many calls, and whether the own model
    that answers now is certified not worse than the general model."""

    task: str
    own: int
    local: int
    external: int
    unanswered: int = 0
    certified: bool = False

    @property
    def answered(self) -> int:
        return self.own + self.local + self.external

    @property
    def own_percent(self) -> float:
        """Percentage of the answered calls; 0 when nothing was answered."""
        return 100.0 * self.own / self.answered if self.answered else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The score, what it is made of, and in points what each part gives.

    ``deployed_percent`` is D, ``external_share`` E, ``local_share`` L, ``parity_share`` P.
    ``sources_formula``: the figure of the formula that the product grew from, which takes 30 points
    for local general models and 10 for external ones: the two are swapped.
    """

    score: float
    deployment_points: float
    dependence_points: float
    parity_points: float
    deployed_percent: float
    external_share: float
    local_share: float
    parity_share: float
    sources_formula: float


def score(tasks: Sequence[TaskUse]) -> Parts | None:
    """The score over tasks; None when none of them answered a call."""
    answered = sum(task.answered for task in tasks)
    if not answered:
        return None
    deployed = math.fsum(task.own_percent for task in tasks) / len(tasks)
    external = sum(task.external for task in tasks) / answered
    local = sum(task.local for task in tasks) / answered
    parity = sum(task.certified for task in tasks) / len(tasks)
    deployment_points = DEPLOYMENT * deployed / 100
    dependence_points = DEPENDENCE * (1 - external - local / 2)
    parity_points = PARITY * parity
    swapped = max(0.0, 40 - 30 * local - 10 * external)
    return Parts(
        score=_bounded(deployment_points + dependence_points + parity_points),
        deployment_points=deployment_points,
        dependence_points=max(0.0, dependence_points),
        parity_points=parity_points,
        deployed_percent=deployed,
        external_share=external,
        local_share=local,
        parity_share=parity,
        sources_formula=_bounded(deployment_points + swapped + parity_points),
    )


def gain(tasks: Sequence[TaskUse], task: str) -> float:
    """Points won if a certified own model answered every call of that task; 0 when one does."""
    before = score(tasks)
    after = score([_taken_over(use) if use.task == task else use for use in tasks])
    return after.score - before.score if before and after else 0.0


def _taken_over(use: TaskUse) -> TaskUse:
    return replace(use, own=use.answered, local=0, external=0, certified=True)


def _bounded(points: float) -> float:
    """Rounded to a millionth, so that all own and as good is 100 and not a hair less."""
    return round(min(100.0, max(0.0, points)), 6)
