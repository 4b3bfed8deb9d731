"""What the pages of evaluations show: figures with names, matrices with shares, words. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.evaluation.records import EvaluationRecord
from inhouse.evaluation.report import Confusion, Point

NAMES: Mapping[str, str] = {
    "score": "Score",
    "accuracy": "Accuracy",
    "macro_f1": "Macro-F1",
    "pearson": "Pearson’s r",
    "mae": "Mean error",
    "ece": "Calibration error",
    "precision": "Precision",
    "recall": "Recall",
    "f1": "F1",
    "micro_f1": "Micro-F1",
    "rouge_l": "ROUGE-L",
    "valid": "Valid answers",
    "p50_ms": "Latency p50",
    "p95_ms": "Latency p95",
}
"""What figures are called; one that is not here is shown by its own name."""
_MAIN = ("macro_f1", "pearson", "micro_f1", "f1", "score")
_HEAT = ((0.08, "h0"), (0.25, "h1"), (0.5, "h2"))
_HOTTEST = "h4"
VERDICTS: Mapping[str, tuple[str, str]] = {
    "pass": ("good", "Passed"),
    "fail": ("failed", "Failed"),
    "inconclusive": ("warn", "Inconclusive"),
}
"""The badge of each verdict: its state and its word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure with its 95 % interval."""

    name: str
    estimate: float
    low: float
    high: float

    @property
    def title(self) -> str:
        return NAMES.get(self.name, self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One reference on the split: its figures by name, and latencies in milliseconds."""

    reference: str
    role: str
    about: str
    n: int
    failures: int
    figures: Mapping[str, Figure]
    latency: Mapping[str, Figure]

    @property
    def who(self) -> str:
        return "own" if self.role == "candidate" or "@" in self.reference else "general"

    @property
    def note(self) -> str:
        """Its role and what it is; the role once."""
        if self.about.startswith(self.role):
            return self.about
        return f"{self.role}, {self.about}" if self.about else self.role


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """The candidate beside one other: the difference of their scores, in words too."""

    other: str
    role: str
    difference: Figure
    mcnemar_p: float | None
    words: str
    state: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the matrix: ``share`` of its row in per cent, ``heat`` the class of its shade."""

    count: int
    share: float
    heat: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MatrixRow:
    """The answers to one true label; ``failures``: those that were none."""

    label: str
    cells: Sequence[Cell]
    failures: int
    total: int


def standings(record: EvaluationRecord) -> list[Standing]:
    """Every reference of an evaluation, in its order: the candidate first."""
    return [
        Standing(
            reference=result["reference"],
            role=result["role"],
            about=result["about"],
            n=result["n"],
            failures=result["failures"],
            figures=_figures(result["figures"]),
            latency=_figures(result["latency"] or {}),
        )
        for result in record.results or ()
    ]


def main_figure(found: Sequence[Standing]) -> str:
    """The figure to show first: the one the candidate has that its kind is judged by."""
    has = found[0].figures if found else {}
    return next((name for name in _MAIN if name in has), "score")


def bounds(found: Sequence[Standing], name: str) -> tuple[float, float]:
    """An axis that holds a figure of everybody with its interval, from one tenth to another."""
    shown = [one.figures[name] for one in found if name in one.figures]
    low = math.floor(min((figure.low for figure in shown), default=0.0) * 10) / 10
    high = math.ceil(max((figure.high for figure in shown), default=1.0) * 10) / 10
    return low, high if high > low else low + 0.1


def comparisons(record: EvaluationRecord) -> list[Against]:
    """The paired comparisons with what they say."""
    margin = float(record.settings.get("gate", {}).get("margin", 0.0))
    found = []
    for one in record.comparisons or ():
        gap = one["difference"]
        state, words = _said(gap, one["role"], margin)
        found.append(
            Against(
                other=one["other"],
                role=one["role"],
                difference=Figure(name="difference", **gap),
                mcnemar_p=one["mcnemar_p"],
                words=words,
                state=state,
            )
        )
    return found


def sentence(record: EvaluationRecord) -> str:
    """What came out, in one sentence."""
    if record.status == "running":
        return f"{record.candidate} and the others are being asked; the figures come at the end."
    if record.status == "failed":
        return f"Nothing could be measured: {record.error}"
    n = standings(record)[0].n if record.results else 0
    words = {
        "pass": "may get traffic: it is above the floors and not worse than what answers now",
        "fail": "must not get traffic",
        "inconclusive": "is neither shown to be good enough nor shown to be worse",
    }
    return (
        f"{record.candidate} {words.get(record.verdict or '', 'has no verdict')}. {n:,} examples."
    )


def matrix(found: Confusion) -> list[MatrixRow]:
    """The rows of a confusion matrix with shares and shades."""
    rows = []
    for place, label in enumerate(found.labels):
        total = sum(found.counts[place]) + found.failures[place]
        cells = [_cell(count, total) for count in found.counts[place]]
        rows.append(
            MatrixRow(label=label, cells=cells, failures=found.failures[place], total=total)
        )
    return rows


def trust_sentence(points: Sequence[Point], unit: str = "points") -> str:
    """What a reliability plot shows: the largest gap that its interval does not cover."""
    if not points:
        return "No probabilities were given, so nothing can be said about confidence."
    off = [point for point in points if not point.low <= point.said <= point.high]
    if not off:
        return f"What was said matches what came true in all {len(points)} bins."
    worst = max(off, key=lambda point: abs(point.true - point.said))
    word = "too sure" if worst.said > worst.true else "not sure enough"
    gap = abs(worst.true - worst.said) * (100 if unit == "points" else 1)
    return (
        f"{len(off)} of {len(points)} bins are off; the farthest said {worst.said:.2f} and "
        f"{worst.true:.2f} came true ({word} by {gap:.0f} {unit})."
    )


def value_sentence(points: Sequence[Point]) -> str:
    """The same of values: whether high answers go with high truth."""
    if not points:
        return "Nothing was answered."
    off = sum(not point.low <= point.said <= point.high for point in points)
    return (
        f"The mean truth lies within its interval of what was said in {len(points) - off} of "
        f"{len(points)} bins."
    )


def _figures(plain: Mapping[str, Mapping[str, float]]) -> dict[str, Figure]:
    return {name: Figure(name=name, **interval) for name, interval in plain.items()}


def _said(gap: Mapping[str, Any], role: str, margin: float) -> tuple[str, str]:
    if gap["low"] > 0:
        return "good", "better"
    if gap["high"] < 0:
        return "bad", "worse"
    if role != "floor" and gap["low"] > -margin:
        return "good", f"not worse by more than {margin:g}"
    return "warn", "not certain"


def _cell(count: int, total: int) -> Cell:
    share = count / total if total else 0.0
    heat = next((name for below, name in _HEAT if share < below), _HOTTEST)
    return Cell(count=count, share=share * 100, heat=heat)
