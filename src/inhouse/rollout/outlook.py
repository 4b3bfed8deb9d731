"""What a rollout waits for: its evidence against its plan, as the reconcile loop and the pages see
it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from math import nan
from typing import Final

from inhouse.db.unit import ReadUnit
from inhouse.rollout import intake_records, records
from inhouse.rollout.decide import Check, Decision, Kind, Standing, decide, decide_shadow, stops
from inhouse.rollout.enact import RESUME
from inhouse.rollout.guardrails import Evidence, Reading, ShadowEvidence, ShadowReading
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tally import from_json

_FRESH: Final = (Kind.RAMP.value, Kind.BAKE.value)


@dataclass(frozen=True, slots=True)
class Outlook:
    """``checks``: what the next step needs. ``stops``: what holds the rollout when it is not met.
    A value that is not known yet, because nothing was counted at this step, is NaN. ``reading``:
    the evidence that they come from."""

    checks: tuple[Check, ...]
    stops: tuple[Check, ...]
    reading: Reading | ShadowReading


def standing_of(rollout: RolloutRecord, *, fresh_at: datetime, now: datetime) -> Standing:
    """Where a rollout stands whose evidence began at ``fresh_at``.

    A clock that jumped back gives no negative times, one that jumped ahead at most an end of a
    wait: every move needs its evidence besides.
    """
    return Standing(
        rollout.state,
        rollout.step,
        rollout.candidate_before,
        max(0.0, (now - rollout.step_at).total_seconds()),
        max(0.0, (now - fresh_at).total_seconds()),
        superseded=rollout.superseded_by is not None,
    )


def fresh_since(rollout: RolloutRecord, decisions: Sequence[DecisionRecord]) -> datetime:
    """Since when the evidence of a rollout counts; ``decisions`` are its own, oldest first."""
    for before, one in reversed(list(pairwise(decisions))):
        held = RolloutState.HELD in (one.before, before.before)
        if one.kind in _FRESH or (one.kind == RESUME and held):
            return one.created_at
    return rollout.created_at


def weigh(
    rollout: RolloutRecord, reading: Reading | ShadowReading, *, fresh_at: datetime, now: datetime
) -> Decision:
    """What to do next with a rollout. The reading of a ramp is for the margin of its step."""
    standing = standing_of(rollout, fresh_at=fresh_at, now=now)
    if isinstance(reading, ShadowReading):
        return decide_shadow(rollout.plan, standing, reading)
    return decide(rollout.plan, standing, reading)


def outlook(unit: ReadUnit, rollout: RolloutRecord, now: datetime) -> Outlook | None:
    """What an unfinished rollout waits for, by the evidence that is stored; None when it is over.

    A step begins with evidence that was counted for another margin: its certificate is not known
    before the next call.
    """
    if rollout.is_over:
        return None
    last = intake_records.last_intake(unit, rollout.id)
    fresh_at = fresh_since(rollout, records.decisions(unit, rollout.id))
    if last is None or last.created_at <= fresh_at:
        reading = _nothing(rollout)
    else:
        reading = from_json(last.reading)
        if isinstance(reading, Reading) and last.created_at <= rollout.step_at:
            reading = reading._replace(certificate=nan)
    checks = weigh(rollout, reading, fresh_at=fresh_at, now=now).checks
    if isinstance(reading, ShadowReading):
        return Outlook(checks, (), reading)
    standing = standing_of(rollout, fresh_at=fresh_at, now=now)
    return Outlook(checks, stops(rollout.plan, standing, reading), reading)


def _nothing(rollout: RolloutRecord) -> Reading | ShadowReading:
    """The evidence before the first outcome."""
    if rollout.is_shadow:
        return ShadowEvidence(rollout.plan).reading()
    margin = rollout.plan.margin_after(rollout.step)
    return Evidence(rollout.plan, by_user=rollout.by_user).reading(margin)
