"""Outcomes and labels of one rollout become its evidence, in the order in which they come. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from inhouse.rollout.guardrails import (
    Evidence,
    GuardrailReading,
    Reading,
    ShadowEvidence,
    ShadowReading,
    ThresholdReading,
)
from inhouse.rollout.plan import FULL_BP, Metric, Plan
from inhouse.rollout.users import Units, UserMeans

WARM_UP: Final = 20
"""First answers of each process and arm; no latency of the process counts until both had them."""


class Seen(NamedTuple):
    """One outcome. ``unit`` is what the split is drawn over. ``paired_bad`` is None but for a
    shadow, whose ``bad`` is the candidate's."""

    process: str
    number: int
    candidate: bool
    weight_bp: int
    bad: bool
    paired_bad: bool | None
    latency_s: float
    unit: str


class Tally:
    """The evidence of one rollout, shadow and ramp. The same calls give the same readings.

    Each unit gives one outcome, one latency and one label: its calls meet one arm, so they are
    alike. The outcome is that of its first call, or ``by_user`` the mean of its first ones.
    """

    def __init__(self, plan: Plan, *, by_user: bool) -> None:
        self._plan = plan
        self._by_user = by_user
        self._answers: Counter[tuple[str, bool]] = Counter()
        self.begin()

    def begin(self) -> None:
        """Begin anew. What warmed up stays warm."""
        self._evidence = Evidence(self._plan, by_user=self._by_user)
        self._shadow = ShadowEvidence(self._plan)
        self._users = UserMeans()
        self._seen, self._timed, self._judged = Units(), Units(), Units()

    def outcome(self, seen: Seen) -> None:
        """Count one outcome."""
        if seen.paired_bad is not None:
            self._shadow.answered(candidate_bad=seen.bad, incumbent_bad=seen.paired_bad)
            return
        weight, arm = seen.weight_bp / FULL_BP, seen.candidate
        if self._by_user:
            closed = self._users.add(seen.unit, candidate=arm, weight=weight, bad=seen.bad)
            for user in closed:
                self._answered(user.candidate, user.weight, user.bad)
        elif self._seen.is_new(seen.unit):
            self._answered(arm, weight, seen.bad)
        self._time(seen, weight)

    def _time(self, seen: Seen, weight: float) -> None:
        """Count a latency once both arms of its process are warm. To count one arm before the other
        would bet on less than a split, and find harm in equal models."""
        arm, answers = seen.candidate, self._answers
        own, other = (seen.process, arm), (seen.process, not arm)
        before = answers[own]
        answers[own] = before + 1
        if before < WARM_UP:
            return
        if answers[other] < WARM_UP:
            if not arm:
                self._evidence.took_alone(seen.latency_s)
        elif self._timed.is_new(seen.unit):
            self._evidence.took(candidate=arm, weight=weight, latency_s=seen.latency_s)

    def label(self, *, unit: str, candidate: bool, weight_bp: int, error: float) -> None:
        """Count one label."""
        if self._judged.is_new(unit):
            weight = weight_bp / FULL_BP
            self._evidence.labelled(candidate=candidate, weight=weight, error=error)

    def pair(self, *, candidate_error: float, incumbent_error: float) -> None:
        """Count one label of both answers to an input of the shadow."""
        self._shadow.labelled(candidate_error=candidate_error, incumbent_error=incumbent_error)

    def reading(self, margin: float) -> Reading:
        """The evidence of the ramp, for one of the plan's margins."""
        return self._evidence.reading(margin)

    def shadow(self) -> ShadowReading:
        """The evidence of the shadow."""
        return self._shadow.reading()

    def _answered(self, candidate: bool, weight: float, bad: float) -> None:
        self._evidence.assigned(candidate=candidate, weight=weight)
        self._evidence.answered(candidate=candidate, weight=weight, bad=bad)


def as_json(reading: Reading | ShadowReading) -> dict[str, Any]:
    """A reading by the names of its fields."""
    plain: Callable[[Any], Any] = lambda one: [_named(part) for part in one]  # noqa: E731
    return {
        name: plain(value) if isinstance(value, tuple) else value
        for name, value in reading._asdict().items()
    }


def from_json(stored: Mapping[str, Any]) -> Reading | ShadowReading:
    """The reading that was stored by the names of its fields."""
    if "inputs" in stored:
        return ShadowReading(**stored)
    parts = {
        "thresholds": tuple(ThresholdReading(**one) for one in stored["thresholds"]),
        "guardrails": tuple(
            GuardrailReading(**{**one, "metric": Metric(one["metric"])})
            for one in stored["guardrails"]
        ),
    }
    return Reading(**{**stored, **parts})


def _named(part: Any) -> dict[str, Any]:
    fields: dict[str, Any] = part._asdict()
    return fields
