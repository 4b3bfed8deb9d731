"""A decision becomes facts: the rollout, the route, the statuses and the record of it, in one unit.

Both use it: the reconcile loop, whose decisions come from evidence, and people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import delete

from inhouse.db.dialects import table_of
from inhouse.db.unit import WriteUnit
from inhouse.registry import move
from inhouse.registry.routes import Route
from inhouse.rollout import intake_records, records
from inhouse.rollout.decide import Kind
from inhouse.rollout.intake_records import LabelRecord
from inhouse.rollout.plan import FULL_BP, ROLLOUTS, RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tables import SplitOwner
from inhouse.tasks.spec import TaskSpec

START: Final = "start"
PAUSE: Final = "pause"
RESUME: Final = "resume"
_STEPS: Final = (Kind.RAMP.value, Kind.ADVANCE.value, Kind.BAKE.value)
_BACK: Final = (Kind.ROLL_BACK.value, Kind.ABORT.value)
_owners = table_of(SplitOwner)


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What was counted, in its order: the numbers and labels of an intake
    (``intake_records.IntakeRecord``), and the reading afterwards. ``grows``: the newest intake is
    to hold it, instead of a new one."""

    counted: tuple[tuple[str | None, int], ...]
    labels: tuple[LabelRecord, ...]
    reading: Mapping[str, Any]
    grows: bool = False

    @property
    def adds(self) -> int:
        """How many intakes there are more when it is stored."""
        return 0 if self.grows else 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """A decision that is to be carried out.

    ``state``, ``step``, ``weight_bp``: what is to be in force. ``expect``: the revision that the
    route must be at. ``leaves_route``: somebody else moved it, and it stays as it is. ``fresh``:
    the evidence begins anew. ``values``: further columns of the rollout.
    """

    kind: str
    state: RolloutState
    step: int
    weight_bp: int
    reasons: tuple[str, ...]
    evidence: Mapping[str, float]
    actor: str
    at: datetime
    expect: int
    leaves_route: bool = False
    fresh: bool = False
    values: Mapping[str, Any]


def enact(
    unit: WriteUnit,
    spec: TaskSpec | None,
    seen: RolloutRecord,
    act: Act,
    taken: Taken | None = None,
) -> DecisionRecord:
    """Carry a decision out by compare-and-set on the rollout and on its route. One that leaves the
    route needs no ``spec``.

    Raises Conflict when either changed meanwhile (``rollout-changed``, ``route-changed``), or the
    state does not allow it; then nothing of the unit may be kept.
    """
    if act.state is not seen.state:
        ROLLOUTS.check(seen.state, act.state)
    is_end = ROLLOUTS.is_final(act.state)
    count = seen.intakes + (0 if taken is None else taken.adds)
    rollout = records.change(
        unit,
        seen,
        **act.values,
        state=act.state.value,
        step=act.step,
        intakes=count + act.fresh,
        ended_at=act.at if is_end else None,
    )
    if taken is not None:
        _store(unit, seen.id, count, taken, act.at)
    if act.fresh:
        intake_records.add_intake(unit, seen.id, count + 1, counted=(), fresh=True, at=act.at)
    route = _move(unit, spec, rollout, act)
    revision = None
    if route is not None and route.revision != act.expect:
        revision = route.revision
        records.set_route(unit, seen.id, revision)
    if is_end:
        unit.execute(delete(_owners).where(_owners.c.owner_id == seen.id))
    return records.add_decision(
        unit,
        rollout,
        kind=act.kind,
        before=seen.state,
        weight_bp=act.weight_bp,
        reasons=act.reasons,
        evidence=act.evidence,
        route_revision=revision,
        actor=act.actor,
        at=act.at,
    )


def keep(unit: WriteUnit, seen: RolloutRecord, taken: Taken, at: datetime) -> None:
    """Store what was counted where nothing was decided, by compare-and-set on the rollout.

    Raises Conflict (``rollout-changed``) when it changed meanwhile.
    """
    number = seen.intakes + taken.adds
    records.change(unit, seen, intakes=number)
    _store(unit, seen.id, number, taken, at)


def _store(unit: WriteUnit, rollout_id: str, number: int, taken: Taken, at: datetime) -> None:
    intake_records.add_intake(
        unit,
        rollout_id,
        number,
        counted=taken.counted,
        labels=taken.labels,
        reading=taken.reading,
        grows=taken.grows,
        at=at,
    )


def _move(unit: WriteUnit, spec: TaskSpec | None, rollout: RolloutRecord, act: Act) -> Route | None:
    if act.leaves_route or spec is None:
        return None
    said: dict[str, Any] = {"actor": act.actor, "reason": "; ".join(act.reasons), "at": act.at}
    if act.kind in _STEPS:
        return move.set_weight(
            unit,
            spec,
            candidate=rollout.candidate,
            percent=act.weight_bp * 100 / FULL_BP,
            expect=act.expect,
            **said,
        )
    if act.kind == Kind.FINISH:
        return move.promote(unit, spec, candidate=rollout.candidate, expect=act.expect, **said)
    if act.kind in _BACK:
        reject = act.kind == Kind.ROLL_BACK
        return move.send_back(unit, spec, reject=reject, expect=act.expect, **said)
    return None
