"""May this candidate get traffic? A pure decision over results, with its reasons in words.

A candidate passes when it is above every floor (the majority with certainty), certified not worse
than the incumbent and the general model (the lower end of the 95 % interval of the paired
difference lies above minus the margin), and not worse calibrated by more than the slack. It fails
when one of these is shown to be broken; what is neither shown nor broken is inconclusive, and so is
a test split that is too small.

Calibration is the exception: below some 2,000 items the noise of a calibration error is wider than
the slack, so its interval decides only a failure, and the estimate itself whether the rest is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from inhouse.evaluation.compare import (
    Choices,
    Interval,
    bootstrap,
    mcnemar_exact,
    paired_difference,
)
from inhouse.evaluation.measure import Result, calibration_figure

MAJORITY = "majority"
"""The floor that always gives the most frequent answer."""


class VerdictKind(StrEnum):
    PASS = "pass"
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSettings:
    """``margin``: how much lower (in task score) still counts as not worse. ``min_items``: smallest
    test split that can decide. ``ece_slack``: how much worse the calibration error may be."""

    margin: float = 0.02
    min_items: int = 30
    ece_slack: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The candidate against one other on the same items. ``difference`` is in task score."""

    other: str
    role: str
    difference: Interval
    mcnemar_p: float | None
    ece_difference: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One condition of the gate: ``held``, ``broken`` or ``open`` (neither shown)."""

    state: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    kind: VerdictKind
    reasons: tuple[str, ...]


def compare(candidate: Result, other: Result, rng: Choices) -> Comparison:
    """Paired comparison of two results over the same items."""
    is_choice = "accuracy" in candidate.figures
    return Comparison(
        other=other.reference,
        role=other.role,
        difference=paired_difference(candidate.scores, other.scores, rng),
        mcnemar_p=mcnemar_exact(_right(candidate), _right(other)) if is_choice else None,
        ece_difference=_ece_difference(candidate, other, rng),
    )


def decide(candidate: Result, comparisons: Sequence[Comparison], settings: GateSettings) -> Verdict:
    """The verdict on a candidate."""
    n = len(candidate.scores)
    if n < settings.min_items:
        return Verdict(
            kind=VerdictKind.INCONCLUSIVE,
            reasons=(
                f"the test split has {n} examples; the gate decides from {settings.min_items} on",
            ),
        )
    checks = [_against(comparison, settings) for comparison in comparisons]
    checks += [_calibrated(c, settings) for c in comparisons if c.ece_difference is not None]
    for state, kind in (("broken", VerdictKind.FAIL), ("open", VerdictKind.INCONCLUSIVE)):
        found = tuple(check.reason for check in checks if check.state == state)
        if found:
            return Verdict(kind=kind, reasons=found)
    return Verdict(kind=VerdictKind.PASS, reasons=tuple(check.reason for check in checks))


def _against(comparison: Comparison, settings: GateSettings) -> Check:
    """Floors must be passed; a served model must not be undercut by more than the margin."""
    gap = comparison.difference
    shown = f"{_signed(gap.estimate)} [{_signed(gap.low)}, {_signed(gap.high)}]"
    if comparison.role == "floor":
        return _above(comparison, shown)
    if gap.high < 0:
        return Check(
            state="broken",
            reason=f"keep the {comparison.role} model {comparison.other}: it is better, {shown}",
        )
    if gap.low <= -settings.margin:
        return Check(
            state="open",
            reason=f"not certain to be as good as the {comparison.role} model "
            f"{comparison.other}: {shown}, margin {settings.margin:g}",
        )
    word = "better than" if gap.low > 0 else "not worse than"
    return Check(
        state="held", reason=f"{word} the {comparison.role} model {comparison.other}: {shown}"
    )


def _above(comparison: Comparison, shown: str) -> Check:
    """The majority holds no information about a text: a candidate that is not shown to be above it
    fails. Any other floor must be below the candidate's estimate."""
    gap = comparison.difference
    certain = gap.low > 0 if comparison.other == MAJORITY else gap.estimate > 0
    if certain:
        return Check(state="held", reason=f"above the floor {comparison.other}: {shown}")
    return Check(state="broken", reason=f"not above the floor {comparison.other}: {shown}")


def _calibrated(comparison: Comparison, settings: GateSettings) -> Check:
    gap = comparison.ece_difference
    if gap is None or comparison.role == "floor" or gap.estimate <= settings.ece_slack:
        return Check(state="held", reason=f"calibrated no worse than {comparison.other}")
    shown = f"{_signed(gap.estimate)} [{_signed(gap.low)}, {_signed(gap.high)}]"
    state = "broken" if gap.low > settings.ece_slack else "open"
    return Check(
        state=state,
        reason=f"calibration error against {comparison.other}: {shown}, "
        f"allowed {settings.ece_slack:+g}",
    )


def _ece_difference(candidate: Result, other: Result, rng: Choices) -> Interval | None:
    if "ece" not in candidate.figures or "ece" not in other.figures:
        return None

    own = calibration_figure(candidate.answers, candidate.scores)
    its = calibration_figure(other.answers, other.scores)
    return bootstrap(len(candidate.scores), lambda rows: own(rows) - its(rows), rng)


def _right(result: Result) -> list[bool]:
    return [score == 1.0 for score in result.scores]


def _signed(value: float) -> str:
    return f"{value:+.3f}"
