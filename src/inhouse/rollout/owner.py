"""What has a task's split, a rollout or an experiment, in the form in which audits see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.rollout import experiment_records, records
from inhouse.rollout.experiment_records import ExperimentRecord
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.tables import SplitOwner

_owners = table_of(SplitOwner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Owner:
    """A rollout or an experiment.

    ``kind``: which of both, as ``SplitOwner.kind`` has it. Its calls are those of the task that the
    revisions ``first_revision`` to ``route_revision`` of the route split, ``since`` a time (None:
    it has split none yet); or, while it ``shadows``, those that a candidate answered too.
    ``audit``: share of them that is drawn; ``judge``: the general model that labels those, "" for
    none.
    """

    id: str
    kind: str
    task: str
    first_revision: int
    route_revision: int
    since: datetime | None
    audit: float
    judge: str
    shadows: bool = False


def owner_of(unit: ReadUnit, task: str) -> Owner | None:
    """What has the split of a task now, if anything has."""
    return _found(unit, _owners.c.task == task)


def find_owner(unit: ReadUnit, owner_id: str, *, lock: bool = False) -> Owner | None:
    """A rollout or an experiment, while it has its task's split. ``lock``: nobody else locks that
    until the unit ends."""
    return _found(unit, _owners.c.owner_id == owner_id, lock=lock)


def of_rollout(unit: ReadUnit, rollout: RolloutRecord) -> Owner:
    """A rollout."""
    made = records.decisions(unit, rollout.id)
    began = [one.created_at for one in made if one.weight_bp or rollout.is_shadow]
    return Owner(
        id=rollout.id,
        kind=records.KIND,
        task=rollout.task,
        first_revision=made[0].route_revision or 0,
        route_revision=rollout.route_revision,
        since=min(began, default=None),
        audit=rollout.plan.audit,
        judge=rollout.plan.judge,
        shadows=rollout.is_shadow,
    )


def of_experiment(experiment: ExperimentRecord) -> Owner:
    """An experiment; one revision of the route splits from its start to its end."""
    return Owner(
        id=experiment.id,
        kind=experiment_records.KIND,
        task=experiment.task,
        first_revision=experiment.route_revision,
        route_revision=experiment.route_revision,
        since=experiment.created_at,
        audit=experiment.question.audit,
        judge=experiment.question.judge,
    )


def _found(unit: ReadUnit, which: ColumnElement[bool], *, lock: bool = False) -> Owner | None:
    statement = select(_owners).where(which)
    if lock:
        statement = statement.with_for_update()
    row = unit.execute(statement).one_or_none()
    if row is None:
        return None
    if row.kind == experiment_records.KIND:
        return of_experiment(experiment_records.get(unit, row.owner_id))
    return of_rollout(unit, records.get(unit, row.owner_id))
