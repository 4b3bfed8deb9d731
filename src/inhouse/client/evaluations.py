"""What travels on the routes that look into an evaluation."""

from __future__ import annotations

from typing import Any

from inhouse.client.control import Answer


class Confusion(Answer):
    """How often each label was answered (columns) for each true label (rows), in the order of
    ``labels``; ``failures`` by row are items without an answer."""

    labels: list[str]
    counts: list[list[int]]
    failures: list[int]


class LabelFigures(Answer):
    """One label: ``support`` true items, ``answered`` answers with it; null where the base is 0."""

    label: str
    support: int
    answered: int
    precision: float | None
    recall: float | None
    f1: float | None


class ReliabilityPoint(Answer):
    """One bin: the mean confidence (or value) that was ``said``, what came ``true`` with its 95 %
    interval, and over how many items."""

    said: float
    true: float
    low: float
    high: float
    n: int


class EvaluationReport(Answer):
    """What the answers of one reference look like beside the truth; ``confusion`` of a choice,
    ``labels`` of a choice and of spans, ``reliability`` where there are probabilities or values."""

    reference: str
    kind: str
    n: int
    confusion: Confusion | None
    labels: list[LabelFigures]
    reliability: list[ReliabilityPoint]


class Mistake(Answer):
    """An answer that is not fully right; ``score`` in [0, 1], ``output`` null for a failure."""

    position: int
    input: Any
    target: dict[str, Any]
    output: dict[str, Any] | None
    probabilities: dict[str, float] | None
    confidence: float | None
    score: float
    error_code: str | None


class MistakePage(Answer):
    """Mistakes from ``offset`` on, the worst first: ``total`` of them among ``n`` answers."""

    reference: str
    items: list[Mistake]
    offset: int
    total: int
    n: int
