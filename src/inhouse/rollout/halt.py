"""The kill switch: every task back to its incumbent, and nothing goes on by itself."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from inhouse.db.unit import WriteUnit
from inhouse.registry import move, routes
from inhouse.registry.routes import Route
from inhouse.rollout import records, steer
from inhouse.tasks.spec import TaskSpec


def halt(
    unit: WriteUnit, specs: Sequence[TaskSpec], *, actor: str, reason: str, at: datetime
) -> list[Route]:
    """Abort every unfinished rollout of the tasks, also one that only shadows, and send all of them
    back to their incumbents. A candidate may start again. Returns the routes that moved.

    Raises Conflict (``rollout-changed``) when a rollout changed meanwhile: repeat.
    """
    before = {route.task: route.revision for route in routes.all_current(unit)}
    declared = {spec.name: spec for spec in specs}
    for seen in records.unfinished(unit):
        spec = declared.get(seen.task)
        if spec is not None:
            rollout = records.get(unit, seen.id, lock=True)
            steer.abort(unit, spec, rollout, actor=actor, reason=reason, at=at)
    move.rollback_all(unit, specs, actor=actor, reason=reason, at=at)
    now = routes.all_current(unit)
    return [r for r in now if r.task in declared and r.revision != before.get(r.task)]
