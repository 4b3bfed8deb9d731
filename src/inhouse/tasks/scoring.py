"""What an answer is worth: item scores in [0, 1] and the figures reported beside their mean.

Formulas: DESIGN section "Scores". A missing output (a failed call) is worth 0. Every function here
is pure.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from inhouse.tasks.fields import field_scores
from inhouse.tasks.rouge import rouge_l
from inhouse.tasks.spec import TaskKind, TaskSpec

Output = Mapping[str, Any]
Place = tuple[int, int, str]


def item_score(spec: TaskSpec, output: Output | None, target: Output) -> float:
    """Quality of one answer in [0, 1]: a choice is right or wrong; a score 1 - |error| / width;
    spans their strict F1 (none where there are none is 1); json the mean over the properties of its
    schema (``tasks.fields``); a text its ROUGE-L F1."""
    if output is None:
        return 0.0
    match spec.kind:
        case TaskKind.CHOICE:
            return 1.0 if output["label"] == target["label"] else 0.0
        case TaskKind.SCORE:
            error = abs(float(output["value"]) - float(target["value"]))
            return max(0.0, 1.0 - error / spec.span)
        case TaskKind.SPANS:
            said, there = _placed(output), _placed(target)
            return span_figure("f1", len(said & there), len(said), len(there))
        case TaskKind.JSON:
            return task_score(list(field_scores(spec.schema or {}, output, target).values()))
        case TaskKind.TEXT:
            return rouge_l(str(output["text"]), str(target["text"]))


def task_score(scores: Sequence[float]) -> float:
    """The mean of item scores; 0 for none."""
    return math.fsum(scores) / len(scores) if scores else 0.0


def figures(
    spec: TaskSpec, outputs: Sequence[Output | None], targets: Sequence[Output]
) -> dict[str, float]:
    """The figures of a task beside its score.

    Choice: accuracy, macro_f1. Score: pearson, mae (a missing output counts as the full width).
    Spans: precision, recall and f1 over all spans, ``f1.<label>`` of each type that occurs. Json:
    ``field.<name>``, the mean of each property, and valid, the share of answers that fit. Text:
    rouge_l.
    """
    match spec.kind:
        case TaskKind.CHOICE:
            return _choice_figures(spec, outputs, targets)
        case TaskKind.SCORE:
            return _score_figures(spec, outputs, targets)
        case TaskKind.SPANS:
            counts = span_counts(spec, outputs, targets)
            return {name: span_figure(name, *map(sum, each)) for name, each in counts.items()}
        case TaskKind.JSON | TaskKind.TEXT:
            return {name: task_score(each) for name, each in parts(spec, outputs, targets).items()}


def parts(
    spec: TaskSpec, outputs: Sequence[Output | None], targets: Sequence[Output]
) -> dict[str, list[float]]:
    """The values per item whose means are the figures of a json or text task."""
    if spec.kind is TaskKind.TEXT:
        pairs = zip(outputs, targets, strict=True)
        return {"rouge_l": [item_score(spec, output, target) for output, target in pairs]}
    schema = spec.schema or {"properties": {}}
    rows = [
        {} if output is None else field_scores(schema, output, target)
        for output, target in zip(outputs, targets, strict=True)
    ]
    found = {f"field.{name}": [row.get(name, 0.0) for row in rows] for name in schema["properties"]}
    return {**found, "valid": [float(output is not None) for output in outputs]}


Counts = tuple[list[int], list[int], list[int]]
"""Per item: spans that are right, spans that were said, spans that are there."""


def span_counts(
    spec: TaskSpec, outputs: Sequence[Output | None], targets: Sequence[Output]
) -> dict[str, Counts]:
    """What the figures of spans are made of, by figure: precision, recall and f1 over all spans,
    ``f1.<label>`` of each type that occurs, in the declared order.

    A span is right when start, end and label are; a missing output says nothing.
    """
    pairs = [
        (_placed(output) if output else set(), _placed(target))
        for output, target in zip(outputs, targets, strict=True)
    ]
    occurring = {span[2] for said, there in pairs for span in said | there}
    everything = _counted(pairs)
    found = dict.fromkeys(("precision", "recall", "f1"), everything)
    for label in spec.labels:
        if label in occurring:
            mine = [tuple({s for s in spans if s[2] == label} for spans in pair) for pair in pairs]
            found[f"f1.{label}"] = _counted(mine)
    return found


def span_figure(name: str, right: int, said: int, there: int) -> float:
    """A figure from its sums. Nothing said where nothing is there is right: 1."""
    if not said and not there:
        return 1.0
    match name:
        case "precision":
            return right / said if said else 0.0
        case "recall":
            return right / there if there else 0.0
        case _:
            return 2 * right / (said + there)


def _counted(pairs: Iterable[Sequence[set[Place]]]) -> Counts:
    rows = [(len(said & there), len(said), len(there)) for said, there in pairs]
    return [r for r, _, _ in rows], [s for _, s, _ in rows], [t for _, _, t in rows]


def _placed(output: Output) -> set[Place]:
    return {(span["start"], span["end"], span["label"]) for span in output["spans"]}


def _choice_figures(
    spec: TaskSpec, outputs: Sequence[Output | None], targets: Sequence[Output]
) -> dict[str, float]:
    predicted = [None if o is None else o["label"] for o in outputs]
    actual = [t["label"] for t in targets]
    right = sum(p == a for p, a in zip(predicted, actual, strict=True))
    return {
        "accuracy": right / len(actual) if actual else 0.0,
        "macro_f1": macro_f1(predicted, actual, spec.labels),
    }


def _score_figures(
    spec: TaskSpec, outputs: Sequence[Output | None], targets: Sequence[Output]
) -> dict[str, float]:
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
