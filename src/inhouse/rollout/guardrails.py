"""Outcomes become evidence: every test of a plan, and one reading of all of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from inhouse.rollout.plan import Metric, Plan
from inhouse.rollout.sequential.harm import RATIOS, BoundedHarm, Harm, HarmTest
from inhouse.rollout.sequential.latency import Latencies
from inhouse.rollout.sequential.limits import Limit
from inhouse.rollout.sequential.mismatch import Mismatch
from inhouse.rollout.sequential.paired import PairedHarm, PairedSafety
from inhouse.rollout.sequential.safety import Safety

_QUANTILES: Final = {Metric.P95: 0.95, Metric.P99: 0.99}
_P95_SHARE: Final = 0.05
_PAIRED: Final = (Metric.SUCCESS, Metric.CORRECT, Metric.ERROR)


class GuardrailReading(NamedTuple):
    """One guardrail; see ``HarmTest`` for ``harm`` (its evidence), ``fresh`` (0 where bad outcomes
    are rare and the candidate had none lately) and ``usual``."""

    metric: Metric
    acts: bool
    outcomes: int
    harm: float
    fresh: float
    usual: float


class ThresholdReading(NamedTuple):
    """One absolute threshold, as a mean of Z: the candidate's, the most allowed, and the evidence
    that it is kept."""

    name: str
    outcomes: int
    estimate: float
    limit: float
    evidence: float


class Reading(NamedTuple):
    """All evidence at one moment.

    ``outcomes``: of the guardrail that has most. ``candidate``: the candidate's calls, or users.
    ``harm``, ``fresh`` and ``usual`` are means over the guardrails that act; a guardrail without
    bad outcomes adds nothing to ``fresh``. ``certificate``: the
    evidence for the margin that was asked for, of the metric where it is least. ``certified``: the
    smallest margin of the plan that is certified for all of them; 1 when none is.
    """

    outcomes: int
    candidate: int
    harm: float
    fresh: float
    usual: float
    mismatch: float
    certificate: float
    thresholds: tuple[ThresholdReading, ...]
    guardrails: tuple[GuardrailReading, ...]
    certified: float = 1.0


class ShadowReading(NamedTuple):
    """The evidence of a shadow, where both answered ``inputs`` times, and ``labels`` of those pairs
    were labelled. ``harm`` is a mean over the guardrails that act; ``certificate`` is that of the
    metric where it is least."""

    inputs: int
    harm: float
    certificate: float
    labels: int = 0


def average(values: Sequence[float]) -> float:
    """Several e-values as one: their mean is an e-value whatever their dependence (Vovk, Wang 2021,
    arXiv 1912.06116). ``values`` must not be empty."""
    return sum(values) / len(values)


class _Guardrail:
    __slots__ = (
        "_bad",
        "_clean",
        "_enough",
        "_rare",
        "acts",
        "harm",
        "metric",
        "outcomes",
        "safety",
    )

    def __init__(self, metric: Metric, plan: Plan, *, degrees: bool) -> None:
        self.metric = metric
        self.acts = metric in plan.guardrails
        self.outcomes = 0
        self.harm: HarmTest = (BoundedHarm if degrees else Harm)(plan.horizon)
        certified = metric in plan.promote_on
        level = 1.0 / plan.false_promotion
        self.safety = Safety(plan.margins, level=level) if certified else None
        self._clean = 0
        self._bad = 0.0
        self._rare = 0.0 if degrees else plan.margin / RATIOS[-1]
        self._enough = plan.step_outcomes

    @property
    def fresh(self) -> float:
        """The evidence of fresh harm; 0 where bad outcomes are so rare that the most that is bet on
        lies within the margin, and the candidate had none in its last ``step_outcomes``.
        Degrees are rare where there was none at all.

        Without bad outcomes the bets all but stand still, and what they won by early luck would
        stay a sign of harm for good.
        """
        is_rare = self._bad <= self._rare * self.outcomes
        return 0.0 if is_rare and self._clean >= self._enough else self.harm.fresh

    def add(self, candidate: bool, weight: float, bad: float) -> None:
        self.outcomes += 1
        self._bad += bad
        if candidate:
            self._clean = 0 if bad else self._clean + 1
        self.harm.add(candidate=candidate, weight=weight, bad=bad)
        if self.safety is not None:
            self.safety.add(candidate=candidate, weight=weight, bad=bad)

    def reading(self) -> GuardrailReading:
        harm = self.harm
        return GuardrailReading(
            self.metric, self.acts, self.outcomes, harm.evidence, self.fresh, harm.usual
        )


class Evidence:
    """The evidence of one rollout. The same events in the same order give the same readings, so
    that a process which starts again reads them again.

    Every event names the arm that the unit was assigned to and the candidate's weight at that time,
    in (0, 1). ``by_user`` counts means of users, which are degrees, instead of single outcomes.
    """

    __slots__ = (
        "_acting",
        "_candidate",
        "_correct",
        "_error",
        "_latencies",
        "_limits",
        "_mismatch",
        "_parts",
        "_plan",
        "_promoting",
        "_quantiles",
        "_success",
    )

    def __init__(self, plan: Plan, *, by_user: bool = False) -> None:
        self._plan = plan
        self._candidate = 0
        self._latencies = Latencies()
        self._mismatch = Mismatch()
        parts = {
            metric: _Guardrail(metric, plan, degrees=by_user or metric is Metric.ERROR)
            for metric in (*plan.guardrails, *plan.observed)
        }
        self._parts = list(parts.values())
        self._acting = [part for part in self._parts if part.acts]
        self._promoting = [part.safety for part in self._parts if part.safety is not None]
        self._quantiles = [(q, parts[m]) for m, q in _QUANTILES.items() if m in parts]
        self._success = parts.get(Metric.SUCCESS)
        self._correct = parts.get(Metric.CORRECT)
        self._error = parts.get(Metric.ERROR)
        self._limits: dict[str, Limit] = {}
        if plan.min_success is not None:
            self._limits["min_success"] = Limit(1.0 - plan.min_success)
        if plan.max_p95_s is not None:
            self._limits["max_p95_s"] = Limit(_P95_SHARE)
        if plan.min_score is not None:
            self._limits["min_score"] = Limit(1.0 - plan.min_score)

    def assigned(self, *, candidate: bool, weight: float) -> None:
        """A unit was assigned to an arm and has left a record."""
        self._mismatch.add(candidate=candidate, weight=weight)

    def answered(self, *, candidate: bool, weight: float, bad: float) -> None:
        """A call ended: 0 for success, 1 for failure; or the mean of a user's calls."""
        self._candidate += candidate
        if self._success is not None:
            self._success.add(candidate, weight, bad)
        if candidate:
            self._limit("min_success", bad)

    def took(self, *, candidate: bool, weight: float, latency_s: float) -> None:
        """How long an answer took. Not for answers of a model that has only just been loaded."""
        for quantile, part in self._quantiles:
            over = self._latencies.over(quantile, latency_s)
            if over is not None:
                part.add(candidate, weight, over)
        if not candidate:
            self.took_alone(latency_s)
        elif self._plan.max_p95_s is not None:
            self._limit("max_p95_s", 1.0 if latency_s > self._plan.max_p95_s else 0.0)

    def took_alone(self, latency_s: float) -> None:
        """A latency of the incumbent at a time when the candidate's do not count: it only moves the
        thresholds."""
        if self._quantiles:
            self._latencies.add(latency_s)

    def labelled(self, *, candidate: bool, weight: float, error: float) -> None:
        """An arm-blind label of an answer: its error, 0 (right) to 1."""
        for part in (self._correct, self._error):
            if part is not None:
                part.add(candidate, weight, error)
        if candidate:
            self._limit("min_score", error)

    def reading(self, margin: float) -> Reading:
        """Everything as it stands, with the certificate for ``margin`` (one of the plan's)."""
        parts, acting = self._parts, self._acting
        return Reading(
            max([part.outcomes for part in parts]),
            self._candidate,
            average([part.harm.evidence for part in acting]),
            average([part.fresh for part in acting]),
            average([part.harm.usual for part in acting]),
            self._mismatch.evidence,
            min([safety.best(margin) for safety in self._promoting]),
            tuple([_threshold(name, one) for name, one in self._limits.items()]),
            tuple([part.reading() for part in parts]),
            max([safety.certified for safety in self._promoting]),
        )

    def _limit(self, name: str, bad: float) -> None:
        limit = self._limits.get(name)
        if limit is not None:
            limit.add(bad)


def _threshold(name: str, one: Limit) -> ThresholdReading:
    return ThresholdReading(name, one.count, one.estimate, one.limit, one.evidence)


class _Pair:
    __slots__ = ("harm", "safety")

    def __init__(self, margin: float) -> None:
        self.harm = PairedHarm()
        self.safety = PairedSafety(margin)

    def add(self, candidate_bad: float, incumbent_bad: float) -> None:
        self.harm.add(candidate_bad=candidate_bad, incumbent_bad=incumbent_bad)
        self.safety.add(candidate_bad=candidate_bad, incumbent_bad=incumbent_bad)


class ShadowEvidence:
    """The evidence of a shadow: the candidate answers copies of calls, for nobody to see.

    Of the plan's metrics those count that a pair of answers has: success, and what a label says of
    both; success alone where there are none. Latencies of copies are nobody's.
    """

    __slots__ = ("_inputs", "_labelled", "_labels", "_parts", "_promoting", "_success")

    def __init__(self, plan: Plan) -> None:
        self._inputs = self._labels = 0
        acting = [metric for metric in _PAIRED if metric in plan.guardrails] or [Metric.SUCCESS]
        parts = {metric: _Pair(plan.margin) for metric in acting}
        promoting = [parts[metric] for metric in acting if metric in plan.promote_on]
        self._parts = list(parts.values())
        self._promoting = promoting or self._parts
        self._success = parts.get(Metric.SUCCESS)
        self._labelled = [part for metric, part in parts.items() if metric is not Metric.SUCCESS]

    def answered(self, *, candidate_bad: bool, incumbent_bad: bool) -> None:
        """Both answered one input."""
        self._inputs += 1
        if self._success is not None:
            self._success.add(candidate_bad, incumbent_bad)

    def labelled(self, *, candidate_error: float, incumbent_error: float) -> None:
        """A label of one input: the errors of both answers, 0 (right) to 1."""
        self._labels += 1
        for part in self._labelled:
            part.add(candidate_error, incumbent_error)

    def reading(self) -> ShadowReading:
        """Everything as it stands."""
        return ShadowReading(
            self._inputs,
            average([part.harm.evidence for part in self._parts]),
            min([part.safety.best for part in self._promoting]),
            self._labels,
        )
