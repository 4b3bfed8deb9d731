"""Proposals among the things that somebody should look at."""

from __future__ import annotations

from inhouse.automation.carry import open_of
from inhouse.automation.records import ProposalRecord
from inhouse.automation.steps import What
from inhouse.db.unit import ReadUnit
from inhouse.monitoring.concern import Code, Concern, Level


def proposals(unit: ReadUnit) -> list[Concern]:
    """What automation asks people about."""
    return [_concern(one) for one in open_of(unit)]


def _concern(one: ProposalRecord) -> Concern:
    words = {
        What.TRAIN: f"Train {one.task}?",
        What.EVALUATE: f"Evaluate {one.about}?",
        What.ROLL_OUT: f"Roll {one.about} out?",
    }
    return Concern(
        code=Code.PROPOSAL_OPEN,
        level=Level.WARN,
        title=words[one.what],
        text=f"{one.why}. `inhouse automation accept {one.id}`, or decline it.",
        about=one.id,
        since=one.created_at,
    )
