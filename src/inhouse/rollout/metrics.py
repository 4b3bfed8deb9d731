"""Prometheus series of rollouts.

They are set from the database when somebody asks for ``/metrics``, and not by the process that
steps a rollout: so every process says the same, whichever has the lease, and a query over several
of them takes the maximum.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from prometheus_client import Gauge

from inhouse.db.unit import ReadUnit
from inhouse.rollout import intake_records, records
from inhouse.rollout.plan import FULL_BP, RolloutState
from inhouse.rollout.records import RolloutRecord
from inhouse.rollout.tell import weight_of

STATE = Gauge(
    "inhouse_rollout_state",
    "1 for the state of a task's rollout that has not ended, 0 for the other states.",
    ("task", "state"),
)
WEIGHT = Gauge(
    "inhouse_rollout_weight_ratio",
    "Share of a task's units that its rollout gives to the candidate, 0 to 1.",
    ("task",),
)
EVIDENCE = Gauge(
    "inhouse_rollout_evidence",
    "E-values of a task's rollout: harm (rolls back at 20), fresh harm, mismatch (holds at 100), "
    "certificate (a step needs 20).",
    ("task", "check"),
)
CERTIFIED_LOSS = Gauge(
    "inhouse_rollout_certified_loss_ratio",
    "By how large a share of calls the candidate may be worse, certified so far; 1 for nothing.",
    ("task",),
)
_CHECKS: Final = ("harm", "fresh", "mismatch", "certificate")
_OPEN: Final = (
    *(RolloutState.PLANNED, RolloutState.SHADOWING, RolloutState.RAMPING),
    *(RolloutState.HELD, RolloutState.PAUSED, RolloutState.BAKING),
)


def observe(unit: ReadUnit) -> None:
    """Set the series to what is stored; rollouts that ended leave them."""
    found = [(one, intake_records.last_intake(unit, one.id)) for one in records.unfinished(unit)]
    for series in (STATE, WEIGHT, EVIDENCE, CERTIFIED_LOSS):
        series.clear()
    for rollout, intake in found:
        _observe(rollout, {} if intake is None else intake.reading)


def _observe(rollout: RolloutRecord, reading: Mapping[str, Any]) -> None:
    for state in _OPEN:
        STATE.labels(rollout.task, state.value).set(state is rollout.state)
    WEIGHT.labels(rollout.task).set(weight_of(rollout) / FULL_BP)
    for check in _CHECKS:
        if check in reading:
            EVIDENCE.labels(rollout.task, check).set(reading[check])
    CERTIFIED_LOSS.labels(rollout.task).set(certified_loss(rollout, reading))


def certified_loss(rollout: RolloutRecord, reading: Mapping[str, Any]) -> float:
    """The smallest margin that is certified, as a share of calls. Every step that was left had its
    own; ``reading`` has the evidence for the next."""
    plan, step = rollout.plan, rollout.step
    level = 1.0 / plan.false_promotion
    if rollout.state is not RolloutState.BAKING and reading.get("certificate", 0.0) >= level:
        return plan.margin_after(step)
    return plan.margin_after(step - 1) if step else 1.0
