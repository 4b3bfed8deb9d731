"""What the answers of one reference look like beside the truth. Pure.

From the items of an evaluation and the targets of the same split: a confusion matrix, figures per
label, how far confidence can be trusted, and the worst errors. Items are parallel to targets.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Output = Mapping[str, Any]

BINS = 10
"""Most bins of a reliability plot."""
_IN_BIN = 20
_Z = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One answer: ``output`` None means a failure (``error_code``); ``score`` in [0, 1]."""

    position: int
    output: Output | None
    probabilities: Mapping[str, float] | None
    score: float
    error_code: str | None = None

    @property
    def confidence(self) -> float | None:
        """The largest probability; None where the reference gives none."""
        return max(self.probabilities.values()) if self.probabilities else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Confusion:
    """How often each label was answered (columns) for each true label (rows).

    ``counts[row][column]`` in the order of ``labels``; ``failures[row]``: items without an answer.
    """

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    failures: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFigures:
    """One label: ``support`` true items, ``answered`` answers with it. A share whose base is 0 is
    None."""

    label: str
    support: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One bin: what was said (mean confidence, or mean value), what came true (share that was
    right, or mean true value) with its 95 % interval, and over how many items."""

    said: float
    true: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """``confusion`` of a choice, ``labels`` of a choice and of spans, ``reliability`` where there
    are probabilities, or values; None or empty where the kind has none."""

    confusion: Confusion | None
    labels: tuple[LabelFigures, ...]
    reliability: tuple[Point, ...]


def report(
    kind: str, labels: Sequence[str], items: Sequence[Item], targets: Sequence[Output]
) -> Report:
    """The report on one reference. ``labels``: those declared; others that occur follow them."""
    if kind == "choice":
        matrix = confusion(labels, items, targets)
        return Report(
            confusion=matrix, labels=of_labels(matrix), reliability=trust_in_choices(items)
        )
    if kind == "spans":
        return Report(confusion=None, labels=of_spans(labels, items, targets), reliability=())
    points = trust_in_values(items, targets) if kind == "score" else ()
    return Report(confusion=None, labels=(), reliability=points)


def confusion(labels: Sequence[str], items: Sequence[Item], targets: Sequence[Output]) -> Confusion:
    """The matrix of a choice."""
    pairs = [
        (str(target["label"]), None if item.output is None else str(item.output["label"]))
        for item, target in zip(items, targets, strict=True)
    ]
    named = dict.fromkeys([*labels, *(label for pair in pairs for label in pair if label)])
    counted = Counter(pairs)
    return Confusion(
        labels=tuple(named),
        counts=tuple(tuple(counted[row, column] for column in named) for row in named),
        failures=tuple(counted[row, None] for row in named),
    )


def of_labels(matrix: Confusion) -> tuple[LabelFigures, ...]:
    """Precision, recall and F1 of each label of a matrix."""
    answered = [sum(column) for column in zip(*matrix.counts, strict=True)]
    return tuple(
        _figures(
            label,
            hits=matrix.counts[place][place],
            support=sum(matrix.counts[place]) + matrix.failures[place],
            answered=answered[place],
        )
        for place, label in enumerate(matrix.labels)
    )


def of_spans(
    labels: Sequence[str], items: Sequence[Item], targets: Sequence[Output]
) -> tuple[LabelFigures, ...]:
    """The same of spans: one is right when start, end and label are."""
    hits: Counter[str] = Counter()
    support: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for item, target in zip(items, targets, strict=True):
        true, said = _spans(target), _spans(item.output or {})
        support.update(label for _, _, label in true)
        answered.update(label for _, _, label in said)
        hits.update(label for _, _, label in true & said)
    named = dict.fromkeys([*labels, *sorted(support | answered)])
    return tuple(
        _figures(label, hits=hits[label], support=support[label], answered=answered[label])
        for label in named
    )


def trust_in_choices(items: Sequence[Item], bins: int | None = None) -> tuple[Point, ...]:
    """How often a choice was right, by how sure it was; bins of equal mass (10, fewer where they
    would hold under 20 items), Wilson's interval."""
    known = sorted(
        (item.confidence, item.score == 1.0) for item in items if item.confidence is not None
    )
    points = []
    for part in _equal(known, bins):
        n, right = len(part), sum(1 for _, right in part if right)
        low, high = wilson(right, n)
        said = math.fsum(sure for sure, _ in part) / n
        points.append(Point(said=said, true=right / n, low=low, high=high, n=n))
    return tuple(points)


def trust_in_values(
    items: Sequence[Item], targets: Sequence[Output], bins: int | None = None
) -> tuple[Point, ...]:
    """The mean true value, by the value that was said; bins as above, normal interval."""
    known = sorted(
        (float(item.output["value"]), float(target["value"]))
        for item, target in zip(items, targets, strict=True)
        if item.output is not None
    )
    points = []
    for part in _equal(known, bins):
        n = len(part)
        said = math.fsum(value for value, _ in part) / n
        true = math.fsum(value for _, value in part) / n
        spread = math.fsum((value - true) ** 2 for _, value in part) / max(n - 1, 1)
        half = _Z * math.sqrt(spread / n)
        points.append(Point(said=said, true=true, low=true - half, high=true + half, n=n))
    return tuple(points)


def worst(items: Iterable[Item]) -> list[Item]:
    """The items that are not fully right, the worst first: by how wrong, then by how sure."""
    wrong = [item for item in items if item.score < 1.0]
    return sorted(wrong, key=lambda item: (item.score, -(item.confidence or 0.0), item.position))


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share; (0, 1) for no items."""
    if n == 0:
        return 0.0, 1.0
    share, z2 = hits / n, _Z * _Z
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _figures(label: str, *, hits: int, support: int, answered: int) -> LabelFigures:
    return LabelFigures(
        label=label,
        support=support,
        answered=answered,
        precision=hits / answered if answered else None,
        recall=hits / support if support else None,
        f1=2 * hits / (support + answered) if support + answered else None,
    )


def _spans(output: Output) -> set[tuple[int, int, str]]:
    return {(span["start"], span["end"], span["label"]) for span in output.get("spans", ())}


def _equal(
    known: Sequence[tuple[float, float]], wanted: int | None
) -> Iterable[Sequence[tuple[float, float]]]:
    """Parts of equal mass, none empty."""
    bins = wanted or min(BINS, max(2, len(known) // _IN_BIN))
    edges = [len(known) * edge // bins for edge in range(bins + 1)]
    return (known[a:b] for a, b in itertools.pairwise(edges) if b > a)
