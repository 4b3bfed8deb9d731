"""What an answer is worth: item scores in [0, 1] and the figures reported beside their mean.

Formulas: DESIGN section "Scores". A missing output (a failed call) is worth 0. Every function here
is pure and needs nothing but the standard library.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from inhouse.tasks.spec import TaskKind, TaskSpec

Output = Mapping[str, Any]


def item_score(spec: TaskSpec, output: Output | None, target: Output) -> float:
    """Quality of one answer in [0, 1]: a choice is right or wrong; a score 1 - |error| / width."""
    if output is None:
        return 0.0
    if spec.kind is TaskKind.CHOICE:
        return 1.0 if output["label"] == target["label"] else 0.0
    error = abs(float(output["value"]) - float(target["value"]))
    return max(0.0, 1.0 - error / spec.span)


def task_score(scores: Sequence[float]) -> float:
    """The mean of item scores; 0 for none."""
    return math.fsum(scores) / len(scores) if scores else 0.0


def figures(
    spec: TaskSpec, outputs: Sequence[Output | None], targets: Sequence[Output]
) -> dict[str, float]:
    """The figures of a task beside its score.

    Choice: accuracy, macro_f1. Score: pearson, mae (a missing output counts as the full width).
    """
    if spec.kind is TaskKind.CHOICE:
        predicted = [None if o is None else o["label"] for o in outputs]
        actual = [t["label"] for t in targets]
        right = sum(p == a for p, a in zip(predicted, actual, strict=True))
        return {
            "accuracy": right / len(actual) if actual else 0.0,
            "macro_f1": macro_f1(predicted, actual, spec.labels),
        }
    pairs = [(o["value"], t["value"]) for o, t in zip(outputs, targets, strict=True) if o]
    missing = len(outputs) - len(pairs)
    error = math.fsum(abs(p - a) for p, a in pairs) + missing * spec.span
    return {
        "pearson": pearson([p for p, _ in pairs], [a for _, a in pairs]),
        "mae": error / len(outputs) if outputs else 0.0,
    }


def macro_f1(
    predicted: Sequence[str | None], actual: Sequence[str], labels: Sequence[str]
) -> float:
    """Mean of the labels' F1 over those labels that occur in ``actual`` or ``predicted``."""
    return macro_f1_of(Counter(zip(predicted, actual, strict=True)), labels)


def macro_f1_of(counts: Mapping[tuple[str | None, str], int], labels: Sequence[str]) -> float:
    """The same from how often each pair (predicted, actual) occurs."""
    values = []
    for label in labels:
        hits = counts.get((label, label), 0)
        total = sum(n * ((p == label) + (a == label)) for (p, a), n in counts.items())
        if total:
            values.append(2 * hits / total)
    return math.fsum(values) / len(values) if values else 0.0


def pearson(x: Sequence[float], y: Sequence[float]) -> float:
    """Pearson's correlation; 0 when one side does not vary or there are fewer than two pairs."""
    n = len(x)
    if n < 2:
        return 0.0
    mean_x, mean_y = math.fsum(x) / n, math.fsum(y) / n
    cov = math.fsum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    var_x = math.fsum((a - mean_x) ** 2 for a in x)
    var_y = math.fsum((b - mean_y) ** 2 for b in y)
    return cov / math.sqrt(var_x * var_y) if var_x > 0 and var_y > 0 else 0.0


def calibration_error(confidences: Sequence[float], right: Sequence[bool], bins: int = 15) -> float:
    """Expected calibration error over ``bins`` bins of equal mass (Nixon et al. 2019, ACE's bins
    with ECE's weights): the mean over bins of |accuracy - mean confidence|, weighted by size."""
    order = sorted(range(len(confidences)), key=lambda i: confidences[i])
    return calibration_error_of([right[i] - confidences[i] for i in order], bins)


def calibration_error_of(gaps: Sequence[float], bins: int = 15) -> float:
    """The same from the items' (right - confidence), in ascending order of confidence."""
    n = len(gaps)
    edges = [n * b // bins for b in range(bins + 1)]
    return sum(abs(sum(gaps[a:b])) for a, b in itertools.pairwise(edges)) / n if n else 0.0
