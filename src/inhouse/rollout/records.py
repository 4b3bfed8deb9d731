"""Rollouts and their decisions, as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, insert, or_, select, update

from inhouse.core.errors import Conflict, NotFound
from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.rollout import declared
from inhouse.rollout.plan import Plan, RolloutState
from inhouse.rollout.tables import Rollout, RolloutDecision, SplitOwner

KIND = "rollout"
"""``SplitOwner.kind`` of a rollout."""
_table = table_of(Rollout)
_decisions = table_of(RolloutDecision)
_owners = table_of(SplitOwner)


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutRecord:
    """A rollout as it stands; ``tables.Rollout`` says what the fields mean."""

    id: str
    task: str
    incumbent: str
    candidate: str
    state: RolloutState
    step: int
    plan: Plan
    by_user: bool
    salt: str
    revision: int
    route_revision: int
    candidate_before: int
    intakes: int
    stopped_from: RolloutState | None
    superseded_by: str | None
    actor: str
    reason: str
    created_at: datetime
    step_at: datetime
    ended_at: datetime | None
    lease_owner: str | None
    lease_until: datetime | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self.ended_at is not None

    @property
    def is_shadow(self) -> bool:
        """Whether it shadows, or stopped while it did."""
        return RolloutState.SHADOWING in (self.state, self.stopped_from)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRecord:
    """A decision as it was made. ``kind`` is one of ``decide.Kind``, or start, pause, resume."""

    rollout_id: str
    number: int
    kind: str
    before: RolloutState
    state: RolloutState
    step: int
    weight_bp: int
    reasons: tuple[str, ...]
    evidence: Mapping[str, float]
    route_revision: int | None
    actor: str
    created_at: datetime


def get(unit: ReadUnit, rollout_id: str, *, lock: bool = False) -> RolloutRecord:
    """The rollout with that id. ``lock``: nobody else changes it until the unit ends (SQLite has
    one writer at a time anyway). Raises NotFound (``rollout-not-found``)."""
    statement = select(_table).where(_table.c.id == rollout_id)
    if lock:
        statement = statement.with_for_update()
    row = unit.execute(statement).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no rollout {rollout_id}",
            code="rollout-not-found",
            hint="`inhouse rollout status` shows those there are",
        )
    return _rollout(row)


def open_of(unit: ReadUnit, task: str) -> RolloutRecord | None:
    """The unfinished rollout of a task, if there is one."""
    found = select(_table).where(_table.c.task == task, _table.c.ended_at.is_(None))
    row = unit.execute(found).one_or_none()
    return None if row is None else _rollout(row)


def list_rollouts(
    unit: ReadUnit, task: str | None = None, limit: int = 50, *, running_first: bool = False
) -> list[RolloutRecord]:
    """Rollouts of one task, or of all, newest first; with ``running_first`` those that have not
    ended before all others, however old they are."""
    ended = [_table.c.ended_at.is_not(None)] if running_first else []
    order = (*ended, _table.c.created_at.desc(), _table.c.id.desc())
    statement = select(_table).order_by(*order).limit(limit)
    if task is not None:
        statement = statement.where(_table.c.task == task)
    return [_rollout(row) for row in unit.execute(statement)]


def unfinished(unit: ReadUnit) -> list[RolloutRecord]:
    """Every rollout that has not ended."""
    statement = (
        select(_table)
        .join(_owners, _owners.c.owner_id == _table.c.id)
        .where(_owners.c.kind == KIND)
        .order_by(_table.c.id)
    )
    return [_rollout(row) for row in unit.execute(statement)]


def decisions(unit: ReadUnit, rollout_id: str) -> list[DecisionRecord]:
    """The decisions of a rollout, oldest first."""
    statement = (
        select(_decisions)
        .where(_decisions.c.rollout_id == rollout_id)
        .order_by(_decisions.c.number)
    )
    return [decision_of(row) for row in unit.execute(statement)]


def first_revision(unit: ReadUnit, rollout_id: str) -> int:
    """The revision of the route with which a rollout began: outcomes before it are not its own."""
    statement = select(_decisions.c.route_revision).where(
        _decisions.c.rollout_id == rollout_id, _decisions.c.number == 1
    )
    return int(unit.execute(statement).scalar_one())


def change(unit: WriteUnit, seen: RolloutRecord, **values: Any) -> RolloutRecord:
    """Store new values by compare-and-set on the revision that the caller saw.

    Raises Conflict (``rollout-changed``) when somebody else was first. Until the unit ends nobody
    else changes the rollout.
    """
    changed = unit.execute(
        update(_table)
        .where(_table.c.id == seen.id, _table.c.revision == seen.revision)
        .values(**values, revision=seen.revision + 1)
    )
    if changed.rowcount != 1:
        raise Conflict(
            f"the rollout of {seen.task} changed meanwhile",
            code="rollout-changed",
            hint="look at `inhouse rollout status` and repeat",
        )
    return get(unit, seen.id)


def lease(
    unit: WriteUnit, rollout: RolloutRecord, *, owner: str, now: datetime, length: timedelta
) -> bool:
    """Take or keep the lease of a rollout, unless another process has it. A lease that ends later
    than one taken now would is from a clock that was wrong, and does not hold."""
    until = now + length
    free = or_(
        _table.c.lease_owner.is_(None),
        _table.c.lease_owner == owner,
        _table.c.lease_until <= now,
        _table.c.lease_until > until,
    )
    changed = unit.execute(
        update(_table)
        .where(_table.c.id == rollout.id, _table.c.ended_at.is_(None), free)
        .values(lease_owner=owner, lease_until=until)
    )
    return changed.rowcount == 1


def give_up(unit: WriteUnit, owner: str) -> None:
    """End every lease of a process that stops."""
    mine = update(_table).where(_table.c.lease_owner == owner)
    unit.execute(mine.values(lease_owner=None, lease_until=None))


def set_route(unit: WriteUnit, rollout_id: str, revision: int) -> None:
    """Note the revision of the route that the rollout just made. After ``change``, in its unit."""
    changed = update(_table).where(_table.c.id == rollout_id).values(route_revision=revision)
    unit.execute(changed)


def add_decision(
    unit: WriteUnit,
    rollout: RolloutRecord,
    *,
    kind: str,
    before: RolloutState,
    weight_bp: int,
    reasons: tuple[str, ...],
    evidence: Mapping[str, float],
    route_revision: int | None,
    actor: str,
    at: datetime,
) -> DecisionRecord:
    """Store a decision that led to ``rollout`` as it is now. After ``change``, in its unit."""
    highest = select(func.max(_decisions.c.number)).where(_decisions.c.rollout_id == rollout.id)
    row = {
        "rollout_id": rollout.id,
        "number": (unit.execute(highest).scalar() or 0) + 1,
        "kind": kind,
        "before": before.value,
        "state": rollout.state.value,
        "step": rollout.step,
        "weight_bp": weight_bp,
        "reasons": list(reasons),
        "evidence": dict(evidence),
        "route_revision": route_revision,
        "actor": actor,
        "created_at": at,
    }
    unit.execute(insert(_decisions).values(**row))
    found = select(_decisions).where(
        _decisions.c.rollout_id == rollout.id, _decisions.c.number == row["number"]
    )
    return decision_of(unit.execute(found).one())


def _rollout(row: Row[Any]) -> RolloutRecord:
    fields = dict(row._mapping)
    stopped = fields["stopped_from"]
    return RolloutRecord(
        **{
            **fields,
            "state": RolloutState(fields["state"]),
            "plan": declared.from_json(fields["plan"]),
            "stopped_from": None if stopped is None else RolloutState(stopped),
        }
    )


def decision_of(row: Row[Any]) -> DecisionRecord:
    """A row of the decisions."""
    fields = dict(row._mapping)
    return DecisionRecord(
        **{
            **fields,
            "before": RolloutState(fields["before"]),
            "state": RolloutState(fields["state"]),
            "reasons": tuple(fields["reasons"]),
        }
    )
