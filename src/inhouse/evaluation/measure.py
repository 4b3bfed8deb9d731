"""From answers to figures: what one reference was worth on the split. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.evaluation.compare import Choices, Interval, bootstrap, mean_interval, quantile
from inhouse.tasks.scoring import (
    Counts,
    calibration_error_of,
    figures,
    item_score,
    macro_f1_of,
    parts,
    span_counts,
    span_figure,
    task_score,
)
from inhouse.tasks.spec import TaskKind, TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a reference answered to one item; ``output`` None means a failure (``error_code``)."""

    output: Mapping[str, Any] | None
    probabilities: Mapping[str, float] | None = None
    latency_ms: float | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One reference on the split.

    ``role``: candidate, incumbent, general or floor. ``scores``: item scores, in the split's
    order. ``figures``: by name, with intervals: score, those of ``tasks.scoring.figures`` for the
    kind, and ece where there are probabilities of labels.
    ``latency``: p50 and p95 in milliseconds, one call at a time; None for floors.
    """

    reference: str
    role: str
    about: str
    answers: tuple[Answer, ...]
    scores: tuple[float, ...]
    figures: Mapping[str, Interval]
    latency: Mapping[str, Interval] | None

    @property
    def failures(self) -> int:
        return sum(answer.output is None for answer in self.answers)


def measure(
    spec: TaskSpec,
    *,
    reference: str,
    role: str,
    about: str,
    answers: Sequence[Answer],
    targets: Sequence[Mapping[str, Any]],
    rng: Choices,
) -> Result:
    """Figures of one reference with 95 % intervals. ``answers`` and ``targets`` are parallel."""
    scores = [item_score(spec, a.output, t) for a, t in zip(answers, targets, strict=True)]
    found = {"score": mean_interval(scores, rng)}
    for name, figure in _figures(spec, answers, targets).items():
        found[name] = bootstrap(len(answers), figure, rng)
    if (error := _calibration(spec, answers, scores)) is not None:
        found["ece"] = bootstrap(len(answers), error, rng)
    return Result(
        reference=reference,
        role=role,
        about=about,
        answers=tuple(answers),
        scores=tuple(scores),
        figures=found,
        latency=_latency([a.latency_ms for a in answers if a.latency_ms is not None], rng),
    )


Figure = Callable[[Sequence[int]], float]
"""A figure of the items at these places of the split."""
Outputs = Sequence[Mapping[str, Any] | None]
Targets = Sequence[Mapping[str, Any]]


def _figures(spec: TaskSpec, answers: Sequence[Answer], targets: Targets) -> dict[str, Figure]:
    """The figures of a kind, each counted item by item once and summed up per resample."""
    outputs = [answer.output for answer in answers]
    match spec.kind:
        case TaskKind.CHOICE:
            macro_f1 = _macro_f1(spec, outputs, targets)
            return {"accuracy": _whole(spec, outputs, targets, "accuracy"), "macro_f1": macro_f1}
        case TaskKind.SCORE:
            names = ("pearson", "mae")
            return {name: _whole(spec, outputs, targets, name) for name in names}
        case TaskKind.SPANS:
            counts = span_counts(spec, outputs, targets)
            return {name: _span_figure(name, each) for name, each in counts.items()}
        case TaskKind.JSON | TaskKind.TEXT:
            return {n: _mean(values) for n, values in parts(spec, outputs, targets).items()}


def _whole(spec: TaskSpec, outputs: Outputs, targets: Targets, name: str) -> Figure:
    def of(rows: Sequence[int]) -> float:
        chosen = [outputs[row] for row in rows], [targets[row] for row in rows]
        return figures(spec, *chosen)[name]

    return of


def _span_figure(name: str, counts: Counts) -> Figure:
    return lambda rows: span_figure(name, *(sum([each[row] for row in rows]) for each in counts))


def _mean(values: Sequence[float]) -> Figure:
    return lambda rows: task_score([values[row] for row in rows])


def _macro_f1(spec: TaskSpec, outputs: Outputs, targets: Targets) -> Figure:
    pairs = [
        (output["label"] if output else None, target["label"])
        for output, target in zip(outputs, targets, strict=True)
    ]
    return lambda rows: macro_f1_of(Counter([pairs[row] for row in rows]), spec.labels)


def _calibration(
    spec: TaskSpec, answers: Sequence[Answer], scores: Sequence[float]
) -> Figure | None:
    """ECE of a choice's confidences; None where a reference gives no probabilities."""
    if spec.kind is not TaskKind.CHOICE:
        return None
    if any(a.probabilities is None or a.output is None for a in answers):
        return None
    return calibration_figure(answers, scores)


def calibration_figure(
    answers: Sequence[Answer], scores: Sequence[float]
) -> Callable[[Sequence[int]], float]:
    """ECE of a resample. Items are ranked by confidence once; a resample only sorts ranks."""
    confidences = [max((a.probabilities or {}).values()) for a in answers]
    order = sorted(range(len(answers)), key=lambda i: confidences[i])
    rank = {item: place for place, item in enumerate(order)}
    gaps = [(scores[item] == 1.0) - confidences[item] for item in order]
    return lambda rows: calibration_error_of([gaps[r] for r in sorted([rank[i] for i in rows])])


def _latency(values: Sequence[float], rng: Choices) -> dict[str, Interval] | None:
    if not values:
        return None

    def at(q: float) -> Callable[[Sequence[int]], float]:
        return lambda rows: quantile(sorted(values[row] for row in rows), q)

    return {
        name: bootstrap(len(values), at(q), rng, resamples=500)
        for name, q in (("p50_ms", 0.5), ("p95_ms", 0.95))
    }
