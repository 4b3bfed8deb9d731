"""The two arms of an experiment: what is compared, and what ends it at once. Pure."""

from __future__ import annotations

import math
from collections import Counter
from enum import StrEnum
from typing import Final, NamedTuple

from inhouse.rollout.guardrails import average
from inhouse.rollout.sequential.harm import BoundedHarm, Harm, HarmTest
from inhouse.rollout.sequential.mismatch import Mismatch
from inhouse.rollout.tally import WARM_UP, Seen
from inhouse.rollout.users import Units, UserMeans

FEWEST: Final = 20
"""Outcomes of an arm below which a look finds nothing."""
CATASTROPHE: Final = 1000.0
"""Evidence at which an experiment ends before its looks: that one arm is the worse one, or that the
split is not the declared one. Each has a chance of at most 1 in 1,000 where there is nothing."""
FAR: Final = 0.2
"""How much worse the worse arm must be lately, besides: smaller differences are left to looks."""
_LATELY: Final = 1.0 / 20.0
"""Weight of an arm's newest outcome in its recent mean."""


_MOST_CALLS: Final = 1_000_000
"""Calls over which the chance of a false alarm is bounded, however few of them have labels."""


class Measure(StrEnum):
    """What an experiment compares, as a mean over the outcomes of each arm.

    SUCCESS: share of calls that were answered, in time and valid, and not rescued by a fallback.
    CORRECT: share of labelled answers that are right (item score 1). ERROR: mean error of labelled
    answers, 0 to 1 (1 - item score). LATENCY: mean seconds of a call, answered or not, without the
    first ones of each process. Where units are users, each counts once.
    """

    SUCCESS = "success"
    CORRECT = "correct"
    ERROR = "error"
    LATENCY = "latency"

    @property
    def is_share(self) -> bool:
        """Whether it is a share of outcomes, so that points are its unit."""
        return self in (Measure.SUCCESS, Measure.CORRECT)

    @property
    def of_labels(self) -> bool:
        """Whether its outcomes are labels."""
        return self in (Measure.CORRECT, Measure.ERROR)


class Sums:
    """Outcomes of one arm: how many, and what they and their squares add up to."""

    __slots__ = ("count", "squares", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self.squares = 0.0

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.squares += value * value

    @property
    def mean(self) -> float | None:
        return self.total / self.count if self.count else None


class Contrast(NamedTuple):
    """B minus A: the plain difference of the means, and the centre and standard error of its test
    and of its interval."""

    difference: float
    centre: float
    error: float


def contrast(a: Sums, b: Sums, *, binary: bool) -> Contrast | None:
    """What the arms say of their difference; None while one of them says too little.

    Shares of 0/1 outcomes get one success and one failure more in each arm (Agresti, Caffo 2000,
    American Statistician 54, 280), so that test and interval hold for rare failures too. Other
    means have the standard error of Welch.
    """
    if min(a.count, b.count) < FEWEST:
        return None
    more = 1 if binary else 0
    (mean_a, error_a), (mean_b, error_b) = _estimate(a, more), _estimate(b, more)
    error = math.sqrt(error_a + error_b)
    plain = b.total / b.count - a.total / a.count
    return Contrast(plain, mean_b - mean_a, error) if error > 0.0 else None


class _Guard:
    """Evidence that A is the worse one, and that B is; and how bad each was lately."""

    __slots__ = ("_lately", "tests")

    def __init__(self, horizon: int, *, degrees: bool) -> None:
        kind = BoundedHarm if degrees else Harm
        self.tests: tuple[HarmTest, HarmTest] = (kind(horizon), kind(horizon))
        self._lately = [0.5, 0.5]

    def add(self, is_b: bool, weight: float, bad: float) -> None:
        to_a, to_b = self.tests
        to_a.add(candidate=not is_b, weight=1.0 - weight, bad=bad)
        to_b.add(candidate=is_b, weight=weight, bad=bad)
        self._lately[is_b] += (bad - self._lately[is_b]) * _LATELY

    def gap(self, *, to_b: bool) -> float:
        """How much worse that arm is than the other, lately."""
        return self._lately[to_b] - self._lately[not to_b]


class Trial:
    """The outcomes and labels of one experiment. The same ones give the same sums in any order;
    the evidence of harm goes by their order. Each unit gives one outcome, latency or label, as in
    ``tally.Tally``."""

    def __init__(self, measure: Measure, *, horizon: int, by_user: bool) -> None:
        self.measure = measure
        self.a = Sums()
        self.b = Sums()
        self._by_user = by_user
        self._users = UserMeans()
        self._seen, self._measured = Units(), Units()
        self._answers: Counter[tuple[str, bool]] = Counter()
        self._mismatch = Mismatch()
        self._calls = _Guard(max(horizon, _MOST_CALLS), degrees=by_user)
        degrees = measure is Measure.ERROR
        self._labels = _Guard(horizon, degrees=degrees) if measure.of_labels else None

    @property
    def count(self) -> int:
        """Outcomes of both arms together, of what is compared."""
        return self.a.count + self.b.count

    @property
    def mismatch(self) -> float:
        """Evidence that units do not fall to the arms as the weight says."""
        return self._mismatch.evidence

    def harm(self, *, to_b: bool) -> float:
        """Evidence that this arm is the worse one, in success and in what its labels say."""
        return average([guard.tests[to_b].evidence for guard in self._guards()])

    def is_catastrophe(self, *, to_b: bool) -> bool:
        """Whether it is certain that this arm is the worse one, and it is far worse lately."""
        is_far = any(guard.gap(to_b=to_b) >= FAR for guard in self._guards())
        return is_far and self.harm(to_b=to_b) >= CATASTROPHE

    def contrast(self) -> Contrast | None:
        """What the arms say of their difference so far."""
        binary = self.measure is Measure.CORRECT or (
            self.measure is Measure.SUCCESS and not self._by_user
        )
        return contrast(self.a, self.b, binary=binary)

    def outcome(self, seen: Seen) -> None:
        """Count one outcome. A shadow is none of an experiment."""
        if seen.paired_bad is not None:
            return
        weight, is_b = seen.weight_bp / 10_000, seen.candidate
        if self._by_user:
            closed = self._users.add(seen.unit, candidate=is_b, weight=weight, bad=seen.bad)
            for user in closed:
                self._answered(user.candidate, user.weight, user.bad)
        elif self._seen.is_new(seen.unit):
            self._answered(is_b, weight, float(seen.bad))
        if self.measure is Measure.LATENCY:
            self._answers[seen.process, is_b] += 1
            if self._answers[seen.process, is_b] > WARM_UP and self._measured.is_new(seen.unit):
                self._of(is_b).add(seen.latency_s)

    def label(self, *, unit: str, candidate: bool, weight_bp: int, error: float) -> None:
        """Count one label."""
        if self._labels is None or not self._measured.is_new(unit):
            return
        is_wrong = float(error > 0.0)
        bad = error if self.measure is Measure.ERROR else is_wrong
        self._of(candidate).add(bad if self.measure is Measure.ERROR else 1.0 - bad)
        self._labels.add(candidate, weight_bp / 10_000, bad)

    def _answered(self, is_b: bool, weight: float, bad: float) -> None:
        self._mismatch.add(candidate=is_b, weight=weight)
        self._calls.add(is_b, weight, bad)
        if self.measure is Measure.SUCCESS:
            self._of(is_b).add(1.0 - bad)

    def _guards(self) -> list[_Guard]:
        return [self._calls] if self._labels is None else [self._calls, self._labels]

    def _of(self, is_b: bool) -> Sums:
        return self.b if is_b else self.a


def _estimate(sums: Sums, more: int) -> tuple[float, float]:
    """Mean and squared standard error, with ``more`` outcomes of 0 and of 1 added."""
    count = sums.count + 2 * more
    mean = (sums.total + more) / count
    squares = sums.squares + more - count * mean * mean
    return mean, max(0.0, squares) / (count if more else count - 1) / count
