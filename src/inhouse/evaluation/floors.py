"""The floors that a model worth having must pass.

Of every kind the majority: the most frequent answer. Of choices and scores TF-IDF with a linear
model; of spans the words that were marked before; of texts the first words of the input. Fitted on
the train and valid splits only, TF-IDF in a child process, so that scikit-learn stays out of the
server. Run as ``python -P -m inhouse.evaluation.floors``, whatever lies in the folder it runs in: a
JSON request on standard input, the answers on standard output.
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from inhouse.core.errors import Unavailable
from inhouse.evaluation.gate import MAJORITY
from inhouse.evaluation.guesses import Gazetteer, Lead, most_frequent
from inhouse.evaluation.measure import Answer
from inhouse.tasks.spec import TaskKind, TaskSpec

TFIDF = "tf-idf"
GAZETTEER = "gazetteer"
LEAD = "lead"
_SECONDS = 600
_WORD = r"(?u)\b\w\w+\b"
_CHARACTER = r"\S"

Labelled = tuple[str, Mapping[str, Any], float]
"""Text, target and weight of an example."""


class Request(msgspec.Struct, frozen=True):
    """What the child is asked: texts and targets to fit on, texts to answer."""

    labels: list[str]
    low: float
    high: float
    train_texts: list[str]
    train_targets: list[Any]
    weights: list[float]
    test_texts: list[str]


@dataclass(frozen=True, slots=True)
class Floor:
    """A floor's name, what it is in words, and its answers to the texts, in their order."""

    name: str
    about: str
    answers: list[Answer]


def fitted(spec: TaskSpec, train: Sequence[Labelled], texts: Sequence[str]) -> list[Floor]:
    """The floors of a task, fitted on ``train``, asked ``texts``. Raises Unavailable when the child
    that fits TF-IDF fails."""
    targets = [target for _, target, _ in train]
    found = [Floor(MAJORITY, "the most frequent answer", majority(spec, targets, len(texts)))]
    if spec.kind is TaskKind.SPANS:
        told = _told(Gazetteer(targets), spec, texts)
        found.append(Floor(GAZETTEER, "the words that training texts mark", told))
    elif spec.kind is TaskKind.TEXT:
        lead = Lead(targets)
        about = f"the first {lead.words} words of the input"
        found.append(Floor(LEAD, about, _told(lead, spec, texts)))
    elif spec.kind is not TaskKind.JSON and can_fit():
        found.append(Floor(TFIDF, "TF-IDF with a linear model", tfidf(spec, train, texts)))
    return found


def majority(spec: TaskSpec, targets: Sequence[Mapping[str, Any]], n: int) -> list[Answer]:
    """``n`` times the most frequent answer of the training targets, with the labels' shares of a
    choice."""
    shares = None
    if spec.kind is TaskKind.CHOICE:
        counts = Counter(str(target["label"]) for target in targets)
        shares = {name: counts[name] / len(targets) for name in spec.labels}
    return [Answer(output=most_frequent(spec, targets), probabilities=shares)] * n


def _told(floor: Gazetteer | Lead, spec: TaskSpec, texts: Sequence[str]) -> list[Answer]:
    return [Answer(output=floor.answer(spec, text)) for text in texts]


def can_fit() -> bool:
    """Whether scikit-learn is installed (extra ``train``)."""
    return importlib.util.find_spec("sklearn") is not None


def tfidf(
    spec: TaskSpec,
    train: Sequence[Labelled],
    test_texts: Sequence[str],
) -> list[Answer]:
    """Answers of TF-IDF (words and pairs of words; characters, where no text has a word of two
    letters) with logistic regression or ridge.

    Raises Unavailable when the child fails.
    """
    key = "label" if spec.kind is TaskKind.CHOICE else "value"
    request = Request(
        labels=list(spec.labels),
        low=spec.low,
        high=spec.high,
        train_texts=[text for text, _, _ in train],
        train_targets=[target[key] for _, target, _ in train],
        weights=[weight for _, _, weight in train],
        test_texts=list(test_texts),
    )
    child = subprocess.run(
        [sys.executable, "-P", "-m", "inhouse.evaluation.floors"],
        input=msgspec.json.encode(request),
        capture_output=True,
        timeout=_SECONDS,
        check=False,
    )
    if child.returncode:
        last = child.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise Unavailable(f"the TF-IDF floor failed: {''.join(last)}", code="floor-failed")
    answers = msgspec.json.decode(child.stdout)
    return [Answer(output={key: answer[0]}, probabilities=answer[1]) for answer in answers]


def main() -> None:
    """The child: fit, answer, stop."""
    request = msgspec.json.decode(sys.stdin.buffer.read(), type=Request)
    answers = _classify(request) if request.labels else _regress(request)
    sys.stdout.buffer.write(msgspec.json.encode(answers))


def _vectorise(request: Request) -> tuple[Any, Any]:
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415 - child only

    has_words = any(re.search(_WORD, text) for text in request.train_texts)
    vectoriser = TfidfVectorizer(
        ngram_range=(1, 2),
        sublinear_tf=True,
        min_df=1,
        token_pattern=_WORD if has_words else _CHARACTER,
    )
    return vectoriser.fit_transform(request.train_texts), vectoriser.transform(request.test_texts)


def _classify(request: Request) -> list[tuple[str, dict[str, float]]]:
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - child only

    train, test = _vectorise(request)
    if len(set(request.train_targets)) < 2:
        only = str(request.train_targets[0])
        shares = {label: float(label == only) for label in request.labels}
        return [(only, shares)] * len(request.test_texts)
    model = LogisticRegression(C=3.0, max_iter=2000, class_weight="balanced")
    model.fit(train, request.train_targets, sample_weight=request.weights)
    rows = []
    for shares in model.predict_proba(test):
        by_label = dict.fromkeys(request.labels, 0.0)
        by_label.update({str(c): float(p) for c, p in zip(model.classes_, shares, strict=True)})
        rows.append((max(by_label, key=lambda label: by_label[label]), by_label))
    return rows


def _regress(request: Request) -> list[tuple[float, None]]:
    from sklearn.linear_model import RidgeCV  # noqa: PLC0415 - child only

    train, test = _vectorise(request)
    model = RidgeCV(alphas=(0.1, 0.3, 1.0, 3.0, 10.0))
    model.fit(train, request.train_targets, sample_weight=request.weights)
    return [(min(request.high, max(request.low, float(v))), None) for v in model.predict(test)]


if __name__ == "__main__":
    main()
