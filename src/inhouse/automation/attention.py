"""Proposals among the things that somebody should look at."""

from __future__ import annotations

from dataclasses import replace

from inhouse.automation.carry import open_of
from inhouse.automation.records import ProposalRecord
from inhouse.automation.steps import What
from inhouse.db.unit import ReadUnit
from inhouse.monitoring.attention import Concern, Level
from inhouse.monitoring.overview import Overview


def with_proposals(unit: ReadUnit, found: Overview) -> Overview:
    """An overview whose list of what needs somebody names the open proposals too, worst first."""
    concerns = (*found.attention, *map(_concern, open_of(unit)))
    order = list(Level)
    return replace(found, attention=tuple(sorted(concerns, key=lambda one: order.index(one.level))))


def _concern(one: ProposalRecord) -> Concern:
    words = {
        What.TRAIN: f"Train {one.task}?",
        What.EVALUATE: f"Evaluate {one.about}?",
        What.ROLL_OUT: f"Roll {one.about} out?",
    }
    return Concern(
        code="proposal-open",
        level=Level.WARN,
        title=words[one.what],
        text=f"{one.why}. `inhouse automation accept {one.id}`, or decline it.",
        about=one.id,
        since=one.created_at,
    )
