"""Floors that need no fitting: what can be said of a text without having learned a language. Pure.

A model worth having is above what the training data alone give away: the most frequent answer, the
marked words of the training texts wherever they turn up again, the first words of the input.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from inhouse.core.errors import Invalid
from inhouse.core.hashing import canonical_json
from inhouse.tasks.outputs import check
from inhouse.tasks.spec import TaskKind, TaskSpec

Target = Mapping[str, Any]
_WORD = re.compile(r"\S+")


def most_frequent(spec: TaskSpec, targets: Sequence[Target]) -> dict[str, Any]:
    """The one answer that fits most of the training targets, whatever the input says.

    Choice: the most frequent label, the first declared of equals. Score: the mean. Spans: none.
    Json: the most frequent value of every field, the median of numbers; the most frequent object
    where these do not fit together. Text: the most frequent one.
    """
    match spec.kind:
        case TaskKind.CHOICE:
            counts = Counter(str(target["label"]) for target in targets)
            return {"label": max(spec.labels, key=lambda label: counts[label])}
        case TaskKind.SCORE:
            return {"value": math.fsum(float(t["value"]) for t in targets) / len(targets)}
        case TaskKind.SPANS:
            return {"spans": []}
        case TaskKind.TEXT:
            return dict(_most(targets))
        case TaskKind.JSON:
            return _fields(spec, targets)


class Gazetteer:
    """The words that training targets mark, wherever they stand in a text as whole words, with
    their most frequent label; the longest first."""

    def __init__(self, targets: Sequence[Target]) -> None:
        counts: dict[str, Counter[str]] = {}
        for target in targets:
            for span in target["spans"]:
                counts.setdefault(span["text"], Counter())[span["label"]] += 1
        self._labels = {words: max(sorted(c), key=c.__getitem__) for words, c in counts.items()}
        longest = sorted(self._labels, key=lambda words: (-len(words), words))
        either = "|".join(re.escape(words) for words in longest)
        self._any = re.compile(rf"(?<!\w)(?:{either})(?!\w)") if longest else None

    def answer(self, spec: TaskSpec, text: str) -> dict[str, Any]:
        """The spans of a text."""
        found = [] if self._any is None else list(self._any.finditer(text))
        spans = [
            {"start": m.start(), "end": m.end(), "label": self._labels[m[0]], "text": m[0]}
            for m in found
        ]
        return check(spec, {"spans": spans}, text)


class Lead:
    """The first words of a text: as many as the median training target has."""

    def __init__(self, targets: Sequence[Target]) -> None:
        lengths = [len(_WORD.findall(target["text"])) for target in targets]
        self.words = max(1, round(statistics.median(lengths)))

    def answer(self, spec: TaskSpec, text: str) -> dict[str, Any]:
        """Those words, as they stand in the text."""
        ends = [match.end() for match in _WORD.finditer(text)]
        cut = text[: ends[self.words - 1]] if len(ends) > self.words else text
        return check(spec, cut.strip() or text)


def _fields(spec: TaskSpec, targets: Sequence[Target]) -> dict[str, Any]:
    composed = {}
    for name in dict.fromkeys(name for target in targets for name in target):
        values = [target[name] for target in targets if name in target]
        if 2 * len(values) < len(targets):
            continue
        numbers = all(type(value) in (int, float) for value in values)
        composed[name] = statistics.median_low(values) if numbers else _most(values)
    try:
        return check(spec, composed)
    except Invalid:
        return dict(_most(targets))


def _most(values: Sequence[Any]) -> Any:
    """The most frequent value, the first of equals."""
    counts = Counter(canonical_json(value) for value in values)
    return max(values, key=lambda value: counts[canonical_json(value)])
