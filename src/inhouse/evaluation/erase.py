"""Erasing what models answered to examples that are gone; the scores stand."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import or_, select, update

from inhouse.db.dialects import table_of
from inhouse.db.unit import WriteUnit
from inhouse.evaluation.tables import Evaluation, EvaluationItem

_evaluation = table_of(Evaluation)
_item = table_of(EvaluationItem)


def erase_answers(unit: WriteUnit, snapshot_ids: Collection[str]) -> int:
    """Erase the answers of every evaluation on these snapshots. All of them: which answer belongs
    to which example can no longer be told once some are gone. Returns how many there were."""
    on = select(_evaluation.c.id).where(_evaluation.c.snapshot_id.in_(snapshot_ids))
    kept = or_(_item.c.output.is_not(None), _item.c.probabilities.is_not(None))
    erased = update(_item).where(_item.c.evaluation_id.in_(on), kept)
    return unit.execute(erased.values(output=None, probabilities=None)).rowcount
