"""What was said about many interactions at once."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.feedback.submit import FeedbackKind
from inhouse.feedback.tables import Feedback

_table = table_of(Feedback)


def corrected(unit: ReadUnit, interaction_ids: Collection[str]) -> set[str]:
    """Those of the interactions that somebody corrected."""
    statement = select(_table.c.interaction_id).where(
        _table.c.interaction_id.in_(interaction_ids),
        _table.c.kind == FeedbackKind.CORRECTION.value,
    )
    return {row.interaction_id for row in unit.execute(statement)}
