"""Erasing what was said about calls."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete, exists, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import WriteUnit
from inhouse.feedback.tables import Feedback
from inhouse.interactions.tables import Interaction

_table = table_of(Feedback)
_interaction = table_of(Interaction)


def erase(unit: WriteUnit, interaction_ids: Collection[str]) -> int:
    """Remove every statement about these interactions. Returns how many there were."""
    about = _table.c.interaction_id.in_(interaction_ids)
    return unit.execute(delete(_table).where(about)).rowcount


def erase_lost(unit: WriteUnit, before: datetime, limit: int) -> int:
    """Remove statements older than a moment whose interaction is not recorded, at most ``limit``.
    Returns how many."""
    recorded = exists().where(_interaction.c.id == _table.c.interaction_id)
    lost = select(_table.c.id).where(_table.c.created_at < before, ~recorded).limit(limit)
    return unit.execute(delete(_table).where(_table.c.id.in_(lost))).rowcount
