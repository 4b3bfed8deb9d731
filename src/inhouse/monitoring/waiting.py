"""Rollouts and candidates that wait for a person."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Final

from inhouse.core.states import VersionStatus
from inhouse.db.unit import ReadUnit
from inhouse.evaluation.gate import VerdictKind
from inhouse.evaluation.records import list_evaluations
from inhouse.monitoring.concern import Concern, Level
from inhouse.registry import routes, versions
from inhouse.rollout import records
from inhouse.rollout.history import last_decisions
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tell import weight_of

LONG: Final = timedelta(days=1)
"""A pause that somebody may have forgotten."""
LATELY: Final = timedelta(days=7)
"""How long a rollback is told, unless a later rollout of the task began."""
_ROLLOUTS: Final = 200


def waiting(unit: ReadUnit, now: datetime) -> list[Concern]:
    """Rollouts that are held, that were rolled back by evidence or ended of themselves lately, that
    have been paused for long; and versions that passed their gate while nothing moves to them."""
    newest: dict[str, RolloutRecord] = {}
    for rollout in records.list_rollouts(unit, limit=_ROLLOUTS):
        newest.setdefault(rollout.task, rollout)
    last = last_decisions(unit, [one.id for one in newest.values()])
    told = (_of_rollout(one, last[one.id], now) for one in newest.values())
    return [*filter(None, told), *_candidates(unit, newest.values())]


def _of_rollout(rollout: RolloutRecord, last: DecisionRecord, now: datetime) -> Concern | None:
    share, why = f"{weight_of(rollout) / 100:g} %", "; ".join(last.reasons)
    match rollout.state:
        case RolloutState.HELD:
            title = f"The rollout of {rollout.candidate} is held at {share}"
            return _concern("rollout-held", Level.WARN, title, rollout, last, why)
        case RolloutState.PAUSED if now - last.created_at >= LONG:
            title = f"The rollout of {rollout.candidate} is paused at {share}"
            return _concern("rollout-paused", Level.WARN, title, rollout, last, why)
        case RolloutState.ROLLED_BACK if last.evidence and _is_late(rollout, now):
            title = f"{rollout.candidate} was rolled back"
            return _concern("rollout-rolled-back", Level.WARN, title, rollout, last, why)
        case RolloutState.ABORTED if last.evidence and _is_late(rollout, now):
            title = f"The rollout of {rollout.candidate} was aborted"
            return _concern("rollout-aborted", Level.WARN, title, rollout, last, why)
        case _:
            return None


def _is_late(rollout: RolloutRecord, now: datetime) -> bool:
    return rollout.ended_at is not None and now - rollout.ended_at < LATELY


def _concern(
    code: str,
    level: Level,
    title: str,
    rollout: RolloutRecord,
    last: DecisionRecord,
    why: str,
) -> Concern:
    text = f"{why[:1].upper()}{why[1:]}".rstrip(".") + "." if why else "No reason was given."
    return Concern(
        code=code, level=level, title=title, text=text, about=rollout.id, since=last.created_at
    )


def _candidates(unit: ReadUnit, newest: Iterable[RolloutRecord]) -> list[Concern]:
    """The newest version of each task, where it passed its gate and no rollout was begun with it.
    A task whose rollout runs is left alone."""
    busy = {one.task for one in newest if not one.is_over}
    begun = {one.candidate for one in newest}
    moved = {route.task: route for route in routes.all_current(unit)}
    found = []
    for version in {one.task: one for one in reversed(versions.list_versions(unit))}.values():
        route = moved.get(version.task)
        is_named = route is not None and version.reference in (route.incumbent, route.pin)
        is_tried = route is not None and route.candidate == version.reference and route.weight_bp
        if version.status is not VersionStatus.CANDIDATE or version.task in busy:
            continue
        if is_named or is_tried or version.reference in begun:
            continue
        judged = next(iter(list_evaluations(unit, version_id=version.id, limit=1)), None)
        if judged is not None and judged.verdict == VerdictKind.PASS:
            found.append(
                Concern(
                    code="candidate-waits",
                    level=Level.INFO,
                    title=f"{version.reference} passed its gate and waits",
                    text="It gets no traffic until a rollout is started.",
                    about=version.reference,
                    since=judged.finished_at,
                )
            )
    return found
