"""What an experiment has found: its looks, whether one arm won, and that in words. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

import msgspec

from inhouse.core.errors import Invalid
from inhouse.core.states import Transitions
from inhouse.rollout import looks
from inhouse.rollout.plan import FULL_BP
from inhouse.rollout.trial import CATASTROPHE, FEWEST, Contrast, Measure, Trial

MOST_DAYS: Final = 3650.0
_LEAST_ALPHA, _MOST_ALPHA = 0.001, 0.2


class ExperimentState(StrEnum):
    """State of an experiment. CONCLUDED: by a look. INCONCLUSIVE: its time limit passed before.
    STOPPED: by a guardrail, or a person. ABORTED: somebody moved the route, or an arm may not
    answer any more."""

    RUNNING = "running"
    CONCLUDED = "concluded"
    INCONCLUSIVE = "inconclusive"
    STOPPED = "stopped"
    ABORTED = "aborted"


_ENDS: Final = frozenset(ExperimentState) - {ExperimentState.RUNNING}

EXPERIMENTS: Final = Transitions(
    "experiment",
    {ExperimentState.RUNNING: _ENDS, **dict.fromkeys(_ENDS, frozenset[ExperimentState]())},
)


class Unanswerable(Invalid):
    """A question that cannot be answered. ``faults``: what is wrong, by the name of the field."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        first, message = next(iter(faults.items()))
        hint = "`inhouse experiment plan` works a horizon out" if first == "horizon" else ""
        super().__init__(message, code="experiment-plan", hint=hint)
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What an experiment was declared to ask; ``tables.Experiment`` says what the fields mean.

    Raises Unanswerable (``experiment-plan``) for one that cannot be answered.
    """

    task: str
    a: str
    b: str
    weight_bp: int
    metric: Measure
    horizon: int
    looks: int
    alpha: float
    days: float | None = None
    audit: float = 0.0
    judge: str = ""

    def __post_init__(self) -> None:
        counted = min(max(1, self.looks), looks.MOST_LOOKS)
        fewest, most = looks.FEWEST_PER_LOOK * counted, looks.MOST_OUTCOMES
        checks = (
            ("b", self.a != self.b, f"{self.a} cannot be compared with itself"),
            (
                "weight",
                100 <= self.weight_bp <= FULL_BP - 100,
                "the weight of B must lie between 1 and 99 %",
            ),
            (
                "looks",
                1 <= self.looks <= looks.MOST_LOOKS,
                f"there can be 1 to {looks.MOST_LOOKS} looks",
            ),
            (
                "alpha",
                _LEAST_ALPHA <= self.alpha <= _MOST_ALPHA,
                f"alpha must lie between {_LEAST_ALPHA} and {_MOST_ALPHA}",
            ),
            (
                "horizon",
                fewest <= self.horizon <= most,
                f"the horizon must be at least {fewest} outcomes"
                if self.horizon < fewest
                else f"the horizon can be at most {most} outcomes",
            ),
            (
                "days",
                self.days is None or 0.0 < self.days <= MOST_DAYS,
                f"the time limit must lie above 0 and be at most {MOST_DAYS:g} days",
            ),
            ("audit", *self._audit_check()),
            (
                "judge",
                not self.judge or self.audit > 0.0,
                "a judge needs a share of calls to audit",
            ),
        )
        faults = {name: message for name, held, message in checks if not held}
        if faults:
            raise Unanswerable(faults)

    def _audit_check(self) -> tuple[bool, str]:
        if self.metric.of_labels or not self.audit:
            return 0.0 <= self.audit <= 1.0, "the share that is audited must lie between 0 and 1"
        return False, f"{self.metric} counts no labels, so there is nothing to audit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One look: at how many outcomes, the statistic and the boundary that it had to reach, and
    B minus A with its interval (null while an arm had too few outcomes, or all alike)."""

    number: int
    outcomes: int
    fraction: float
    z: float
    boundary: float
    difference: float | None
    low: float | None
    high: float | None
    at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is known of an experiment.

    ``unit``: request, or user where each counts once. ``counts`` and ``means`` are A's and B's.
    ``harm``: evidence that A is the worse one, that B is; ``mismatch``: that the split is not as
    declared. ``winner``: a or b. ``ended_by``, ``why``: who ended it, and why.
    """

    by_user: bool
    counts: tuple[int, int] = (0, 0)
    means: tuple[float | None, float | None] = (None, None)
    harm: tuple[float, float] = (1.0, 1.0)
    mismatch: float = 1.0
    looks: tuple[Look, ...] = field(default=())
    winner: str | None = None
    ended_by: str | None = None
    why: str | None = None
    recommendation: str | None = None

    @property
    def outcomes(self) -> int:
        """Outcomes of both arms together."""
        return sum(self.counts)


def as_json(findings: Findings) -> dict[str, Any]:
    """Findings as they are stored."""
    stored: dict[str, Any] = msgspec.to_builtins(findings)
    return stored


def from_json(stored: Any) -> Findings:
    """The findings that were stored."""
    return msgspec.convert(stored, Findings)


def progress(before: Findings, trial: Trial) -> Findings:
    """The findings, with the figures of both arms as they stand."""
    return replace(
        before,
        counts=(trial.a.count, trial.b.count),
        means=(trial.a.mean, trial.b.mean),
        harm=(trial.harm(to_b=False), trial.harm(to_b=True)),
        mismatch=trial.mismatch,
    )


def catastrophe(question: Question, trial: Trial) -> str | None:
    """Why an experiment must end now, whatever its looks; None while it need not."""
    for arm, name, other, to_b in (
        ("A", question.a, question.b, False),
        ("B", question.b, question.a, True),
    ):
        if trial.is_catastrophe(to_b=to_b):
            return (
                f"{arm} ({name}) is far worse than {other}: evidence {trial.harm(to_b=to_b):.3g}, "
                f"limit {CATASTROPHE:.0f}"
            )
    if trial.mismatch >= CATASTROPHE:
        return (
            "calls do not fall to the arms as the weight says: evidence "
            f"{trial.mismatch:.3g}, limit {CATASTROPHE:.0f}; something loses or moves calls of "
            "one arm"
        )
    return None


def is_due(question: Question, taken: Sequence[Look], count: int) -> bool:
    """Whether it is time to look: at the horizon, or where a planned moment has passed since the
    last look, at least half a step from it and from the horizon."""
    if count >= question.horizon:
        return True
    step = question.horizon / question.looks
    last = taken[-1].outcomes if taken else 0
    passed = math.floor(count / step) > math.floor(last / step)
    return passed and count - last >= step / 2 and question.horizon - count >= step / 2


def look(question: Question, findings: Findings, found: Contrast | None, at: str) -> Findings:
    """The findings after one more look, which may have found a winner."""
    taken = findings.looks
    counts = (*(one.outcomes for one in taken), findings.outcomes)
    boundary = _boundary(counts, question.horizon, question.alpha)
    z = 0.0 if found is None else found.centre / found.error
    one = Look(
        number=len(taken) + 1,
        outcomes=counts[-1],
        fraction=min(1.0, counts[-1] / question.horizon),
        z=z,
        boundary=boundary,
        difference=None if found is None else found.difference,
        low=None if found is None else found.centre - boundary * found.error,
        high=None if found is None else found.centre + boundary * found.error,
        at=at,
    )
    winner = _winner(question.metric, z) if abs(z) >= boundary else None
    return replace(findings, looks=(*taken, one), winner=winner)


def is_over(question: Question, findings: Findings) -> bool:
    """Whether the last look has found a winner, or was the last one."""
    last = findings.looks[-1]
    return findings.winner is not None or last.outcomes >= question.horizon


def recommend(question: Question, findings: Findings, answering: str) -> str:
    """What a concluded experiment says, and what to do; ``answering`` answers the task now."""
    last = findings.looks[-1]
    interval = f"{(1.0 - question.alpha) * 100:g} % repeated confidence interval"
    if last.difference is None or last.low is None or last.high is None:
        why = "one arm had too few outcomes to tell"
        if min(findings.counts) >= FEWEST:
            why = f"the {question.metric} of each arm was always the same, so nothing can be tested"
        return f"{why}; {answering} goes on answering"
    if findings.winner is None:
        between = _between(question.metric, last.low, last.high)
        return (
            f"no difference in {question.metric} was shown; B minus A lies between {between} "
            f"({interval}); {answering} goes on answering"
        )
    best = question.b if findings.winner == "b" else question.a
    size = _size(question.metric, last.difference, last.low, last.high)
    said = f"{findings.winner.upper()} ({best}) is {size} in {question.metric} ({interval})"
    if best == answering:
        return f"{said}; it answers already, so there is nothing to do"
    command = f"inhouse rollout start {question.task} --to {best}"
    return f"{said}; start a rollout with `{command}`"


def timed_out(question: Question, findings: Findings, answering: str) -> str:
    """Why an experiment ended whose time limit has passed."""
    limit = f"{question.days:g} {'day' if question.days == 1 else 'days'}"
    return (
        f"its time limit of {limit} passed with {findings.outcomes:,} of {question.horizon:,} "
        f"outcomes, and no look had found a winner; {answering} goes on answering"
    )


def mean_words(metric: Measure, mean: float | None) -> str:
    """A mean of the metric for people."""
    if mean is None:
        return "-"
    return f"{mean:.1%}" if metric.is_share else _amount(metric, mean)


@lru_cache(maxsize=256)
def _boundary(counts: tuple[int, ...], horizon: int, alpha: float) -> float:
    """The boundary of the last look, after looks at so many outcomes."""
    used = [looks.spent(alpha, count / horizon) for count in counts]
    return looks.boundaries(counts, used)[-1]


def _winner(metric: Measure, z: float) -> str:
    is_less = metric in (Measure.ERROR, Measure.LATENCY)
    return "b" if (z < 0.0) == is_less else "a"


_BETTER: Final[Mapping[Measure, str]] = {
    Measure.SUCCESS: "better",
    Measure.CORRECT: "better",
    Measure.ERROR: "lower",
    Measure.LATENCY: "faster",
}


def _size(metric: Measure, difference: float, low: float, high: float) -> str:
    """``better by 3.1 points [1.0, 5.2]``, counted from the winner."""
    if difference < 0.0:
        low, high = -high, -low
    scale, digits = (100.0, 1) if metric.is_share else (1.0, 3)
    ends = ", ".join(f"{end * scale:.{digits}f}" for end in (low, high))
    return f"{_BETTER[metric]} by {_amount(metric, abs(difference))} [{ends}]"


def _between(metric: Measure, low: float, high: float) -> str:
    return f"{_amount(metric, low)} and {_amount(metric, high)}"


def _amount(metric: Measure, value: float) -> str:
    if metric.is_share:
        return f"{value * 100:.1f} points"
    return f"{value:.3f} s" if metric is Measure.LATENCY else f"{value:.3f}"
