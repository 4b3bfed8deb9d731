"""From answers to figures: what one reference was worth on the split. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inhouse.evaluation.compare import Choices, Interval, bootstrap, mean_interval, quantile
from inhouse.tasks.scoring import calibration_error_of, figures, item_score, macro_f1_of
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
    order. ``figures``: by name, with intervals (score, accuracy, macro_f1, ece, pearson, mae).
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
    for name in ("accuracy", "macro_f1") if spec.kind is TaskKind.CHOICE else ("pearson", "mae"):
        found[name] = bootstrap(len(answers), _figure(spec, answers, targets, name), rng)
    if (error := _calibration(answers, scores)) is not None:
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


def _figure(
    spec: TaskSpec,
    answers: Sequence[Answer],
    targets: Sequence[Mapping[str, Any]],
    name: str,
) -> Callable[[Sequence[int]], float]:
    if name == "macro_f1":
        return _macro_f1(spec, answers, targets)

    def of(rows: Sequence[int]) -> float:
        chosen = [answers[row].output for row in rows], [targets[row] for row in rows]
        return figures(spec, *chosen)[name]

    return of


def _macro_f1(
    spec: TaskSpec, answers: Sequence[Answer], targets: Sequence[Mapping[str, Any]]
) -> Callable[[Sequence[int]], float]:
    pairs = [
        (a.output["label"] if a.output else None, t["label"])
        for a, t in zip(answers, targets, strict=True)
    ]
    return lambda rows: macro_f1_of(Counter([pairs[row] for row in rows]), spec.labels)


def _calibration(
    answers: Sequence[Answer], scores: Sequence[float]
) -> Callable[[Sequence[int]], float] | None:
    """ECE of a choice's confidences; None where a reference gives no probabilities."""
    if any(a.probabilities is None or a.output is None for a in answers):
        return None
    if not all("label" in (a.output or {}) for a in answers):
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
