"""What a gateway has to know of rollouts: which candidates answer copies of calls."""

from __future__ import annotations

from sqlalchemy import and_, or_, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.gateway.shadow import Target
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.records import KIND
from inhouse.rollout.tables import Rollout, SplitOwner

_table = table_of(Rollout)
_owners = table_of(SplitOwner)


def targets(unit: ReadUnit) -> dict[str, Target]:
    """The candidates in shadow, by task: of rollouts that are shadowing, or paused from it. One
    that is held has had its inputs."""
    state, before = _table.c.state, _table.c.stopped_from
    paused = and_(state == RolloutState.PAUSED.value, before == RolloutState.SHADOWING.value)
    statement = (
        select(_table.c.task, _table.c.candidate, _table.c.route_revision)
        .join(_owners, _owners.c.owner_id == _table.c.id)
        .where(_owners.c.kind == KIND, or_(state == RolloutState.SHADOWING.value, paused))
    )
    return {row.task: Target(row.candidate, row.route_revision) for row in unit.execute(statement)}
