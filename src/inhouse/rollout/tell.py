"""A rollout as people and programs see it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from math import isnan
from typing import Any

from inhouse.db.unit import ReadUnit
from inhouse.rollout import declared, intake_records, records
from inhouse.rollout.decide import Check
from inhouse.rollout.history import arms, shadow_of
from inhouse.rollout.outlook import outlook
from inhouse.rollout.plan import FULL_BP, RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord

_WITHHELD = ("salt", "candidate_before", "intakes", "lease_owner", "lease_until")


@dataclass(frozen=True, slots=True)
class Told:
    """A rollout, its decisions, oldest first, and its newest reading."""

    rollout: RolloutRecord
    decisions: list[DecisionRecord]
    reading: dict[str, Any] | None


def tell(unit: ReadUnit, rollout_id: str) -> Told:
    """Everything about one rollout. Raises NotFound (``rollout-not-found``)."""
    rollout = records.get(unit, rollout_id)
    last = intake_records.last_intake(unit, rollout_id)
    return Told(
        rollout,
        records.decisions(unit, rollout_id),
        None if last is None else dict(last.reading),
    )


def weight_of(rollout: RolloutRecord) -> int:
    """The candidate's weight in basis points, as the rollout left it."""
    match rollout.state:
        case RolloutState.DONE:
            return FULL_BP
        case RolloutState.PLANNED | RolloutState.ROLLED_BACK | RolloutState.ABORTED:
            return 0
        case _ if rollout.is_shadow:
            return 0
        case _:
            return rollout.plan.weight_bp(rollout.step)


def plain(rollout: RolloutRecord) -> dict[str, Any]:
    """A rollout by the names of its fields, without what is its own affair."""
    fields = {name: getattr(rollout, name) for name in RolloutRecord.__slots__}
    shown = {name: value for name, value in fields.items() if name not in _WITHHELD}
    return {**shown, "plan": declared.as_json(rollout.plan), "weight_bp": weight_of(rollout)}


def plain_decision(decision: DecisionRecord) -> dict[str, Any]:
    """A decision by the names of its fields."""
    fields = asdict(decision)
    del fields["rollout_id"]
    return {**fields, "reasons": list(decision.reasons)}


def plain_view(unit: ReadUnit, rollout_id: str, now: datetime) -> dict[str, Any]:
    """Everything about one rollout, with what it waits for and what its arms did."""
    told = tell(unit, rollout_id)
    waits = outlook(unit, told.rollout, now)
    return {
        **plain_told(told),
        "checks": [] if waits is None else list(map(_plain_check, waits.checks)),
        "stops": [] if waits is None else list(map(_plain_check, waits.stops)),
        "arms": list(map(asdict, arms(unit, told.rollout))),
        "shadow": shadow_of(unit, rollout_id),
    }


def _plain_check(check: Check) -> dict[str, Any]:
    """A condition by the names of its fields; a value that is not known yet is None."""
    return {**check._asdict(), "value": None if isnan(check.value) else check.value}


def plain_told(told: Told) -> dict[str, Any]:
    """Everything about one rollout, by name."""
    return {
        **plain(told.rollout),
        "decisions": [plain_decision(one) for one in told.decisions],
        "reading": told.reading,
    }
