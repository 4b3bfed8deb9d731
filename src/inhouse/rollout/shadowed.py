"""What a gateway has to know of rollouts: which candidates answer copies of calls."""

from __future__ import annotations

from sqlalchemy import select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.gateway.shadow import Target
from inhouse.jobs.pause import paused
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.records import KIND
from inhouse.rollout.tables import Rollout, SplitOwner

_table = table_of(Rollout)
_owners = table_of(SplitOwner)
_SHADOWING = (
    select(_table.c.task, _table.c.candidate, _table.c.route_revision)
    .join(_owners, _owners.c.owner_id == _table.c.id)
    .where(_owners.c.kind == KIND, _table.c.state == RolloutState.SHADOWING.value)
)
"""Made once: every process asks it four times a second."""


def targets(unit: ReadUnit) -> dict[str, Target]:
    """The candidates in shadow, by task: of rollouts that are shadowing. One that is held has had
    its inputs, and one that is paused uses nothing; while jobs are paused nobody would end it."""
    rows = unit.execute(_SHADOWING).all()
    if not rows or paused(unit) is not None:
        return {}
    return {row.task: Target(row.candidate, row.route_revision) for row in rows}
