"""The evidence of a rollout over time, and what its arms did: what a page shows beside the plan."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Integer, Row, Text, and_, case, cast, func, select, type_coerce

from inhouse.db.dialects import table_of
from inhouse.db.unit import ReadUnit
from inhouse.interactions.tables import Outcome
from inhouse.rollout import intake, intake_records, records
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tables import RolloutDecision, RolloutIntake

MOST: Final = 300
"""Points of a history at most."""
NEWEST: Final = 5_000
"""Outcomes that the figures of the arms come from at most."""
_LABELLED: Final = 2_000
"""Intakes whose labels are looked at."""
_COARSE_MS: Final = 100
_intakes = table_of(RolloutIntake)
_decisions = table_of(RolloutDecision)
_outcome = table_of(Outcome)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """The reading at one intake, as it was stored."""

    number: int
    at: datetime
    reading: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """What an arm did, from the newest outcomes of both.

    ``bad``: not answered, not in time, not valid, or rescued. ``p50_ms`` and ``p95_ms`` are of all
    its calls, None without one. ``labels`` are arm-blind ones, ``correct`` the mean score by them.
    """

    arm: str
    reference: str
    calls: int
    bad: int
    p50_ms: float | None
    p95_ms: float | None
    labels: int
    correct: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShadowFound:
    """What a shadow found: inputs that both answered, how many of them have a label, evidence of
    harm, and of the margin."""

    inputs: int
    harm: float
    certificate: float
    labels: int = 0


def readings(unit: ReadUnit, rollout_id: str, most: int = MOST) -> list[Moment]:
    """The evidence over time, oldest first: at most ``most`` moments at even distances, the newest
    among them."""
    mine = _intakes.c.rollout_id == rollout_id
    newest = unit.execute(select(func.max(_intakes.c.number)).where(mine)).scalar() or 0
    apart = max(1, math.ceil(newest / most))
    chosen = (
        select(func.max(_intakes.c.number))
        .where(mine)
        .group_by((newest - _intakes.c.number) // apart)
    )
    statement = (
        select(_intakes.c.number, _intakes.c.created_at, _intakes.c.reading)
        .where(mine, _intakes.c.fresh.is_(False), _intakes.c.number.in_(chosen))
        .order_by(_intakes.c.number)
    )
    return [
        Moment(number=row.number, at=row.created_at, reading=row.reading)
        for row in unit.execute(statement)
    ]


def last_decisions(unit: ReadUnit, rollout_ids: Sequence[str]) -> dict[str, DecisionRecord]:
    """The newest decision of each rollout, by its id."""
    of = _decisions.c.rollout_id
    newest = (
        select(of, func.max(_decisions.c.number).label("number"))
        .where(of.in_(rollout_ids))
        .group_by(of)
        .subquery()
    )
    same = and_(of == newest.c.rollout_id, _decisions.c.number == newest.c.number)
    found = map(records.decision_of, unit.execute(select(_decisions).join(newest, same)))
    return {one.rollout_id: one for one in found}


def shadow_of(unit: ReadUnit, rollout_id: str) -> ShadowFound | None:
    """The last that a shadow found, None where there was none."""
    ramped = select(_decisions.c.created_at).where(
        _decisions.c.rollout_id == rollout_id, _decisions.c.kind == "ramp"
    )
    until = unit.execute(ramped.limit(1)).scalar()
    statement = (
        select(_intakes.c.reading)
        .where(_intakes.c.rollout_id == rollout_id, _intakes.c.fresh.is_(False))
        .order_by(_intakes.c.number.desc())
        .limit(1)
    )
    if until is not None:
        statement = statement.where(_intakes.c.created_at <= until)
    reading = unit.execute(statement).scalar()
    return ShadowFound(**reading) if reading and "inputs" in reading else None


def arms(unit: ReadUnit, rollout: RolloutRecord) -> tuple[Arm, Arm]:
    """The incumbent and the candidate, side by side."""
    found: dict[str, list[Row[Any]]] = {"incumbent": [], "candidate": []}
    for row in _counted(unit, rollout):
        found[row.arm].append(row)
    errors = _errors(unit, rollout.id)
    return (
        _arm("incumbent", rollout.incumbent, found["incumbent"], errors[False]),
        _arm("candidate", rollout.candidate, found["candidate"], errors[True]),
    )


def _counted(unit: ReadUnit, rollout: RolloutRecord) -> list[Row[Any]]:
    """Calls by arm, end and latency, which is rounded to tenths of a millisecond, from 100 ms on to
    whole ones."""
    begun = select(_intakes.c.upto).where(
        _intakes.c.rollout_id == rollout.id, _intakes.c.number == 1
    )
    first: dict[str, int] = dict(unit.execute(begun).scalar_one())
    heads = {name: at for name, at in intake.heads(unit).items() if at > first.get(name, 0)}
    each = NEWEST // max(1, len(heads))
    fine = _outcome.c.latency_ms < _COARSE_MS
    tenths = case(
        (fine, cast(func.floor(_outcome.c.latency_ms * 10), Integer)),
        else_=cast(func.floor(_outcome.c.latency_ms), Integer) * 10,
    ).label("tenths")
    own = intake.split_of(rollout, records.first_revision(unit, rollout.id))
    rows: list[Row[Any]] = []
    for process, head in heads.items():
        statement = (
            select(_outcome.c.arm, _outcome.c.bad, tenths, func.count().label("calls"))
            .where(
                _outcome.c.process == process,
                _outcome.c.number > max(first.get(process, 0), head - each),
                _outcome.c.number <= head,
                *own,
            )
            .group_by(_outcome.c.arm, _outcome.c.bad, tenths)
        )
        rows.extend(unit.execute(statement))
    return rows


def _errors(unit: ReadUnit, rollout_id: str) -> dict[bool, list[float]]:
    """Errors of the labels in the newest intakes, by whether they are the candidate's. Those of
    pairs are of copies, and no arm's."""
    mine = _intakes.c.rollout_id == rollout_id
    newest = unit.execute(select(func.max(_intakes.c.number)).where(mine)).scalar() or 0
    statement = select(_intakes.c.labels).where(
        mine,
        _intakes.c.number > newest - _LABELLED,
        type_coerce(_intakes.c.labels, Text) != "[]",
    )
    errors: dict[bool, list[float]] = {False: [], True: []}
    for labels in unit.execute(statement).scalars():
        for one in map(intake_records.label_of, labels):
            if one.paired_error is None:
                errors[one.candidate].append(one.error)
    return errors


def _arm(name: str, reference: str, rows: Sequence[Row[Any]], errors: Sequence[float]) -> Arm:
    times = sorted((row.tenths, row.calls) for row in rows)
    return Arm(
        arm=name,
        reference=reference,
        calls=sum(calls for _, calls in times),
        bad=sum(row.calls for row in rows if row.bad),
        p50_ms=_quantile(times, 0.5),
        p95_ms=_quantile(times, 0.95),
        labels=len(errors),
        correct=1.0 - math.fsum(errors) / len(errors) if errors else None,
    )


def _quantile(times: Sequence[tuple[int, int]], share: float) -> float | None:
    """The latency that so large a share of the calls does not exceed."""
    left = share * sum(calls for _, calls in times)
    for tenths, calls in times:
        left -= calls
        if left <= 0:
            return tenths / 10
    return None
