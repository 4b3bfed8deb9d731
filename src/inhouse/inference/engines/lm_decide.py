"""Free typed questions as the embedded model's child scores them. No torch here."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from inhouse.core.hashing import digest_of
from inhouse.inference.base import Judgement, Usage
from inhouse.inference.engines.calibration import prior_of, softmax
from inhouse.inference.questions import FreeQuestion, asked, judgement, listing, words_of

_KEPT = 256

Prior = Mapping[str, float]


class Priors:
    """The model's preferences among the options of the last questions. Not thread-safe: one event
    loop uses it."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, Prior] = OrderedDict()

    def get(self, question: FreeQuestion) -> Prior | None:
        """What was measured of a question of these words, whatever its name."""
        key = _key(question)
        found = self._known.get(key)
        if found is not None:
            self._known.move_to_end(key)
        return found

    def put(self, question: FreeQuestion, measured: Sequence[Sequence[float]]) -> Prior:
        """Keep the log likelihoods over inputs that say nothing, as a preference."""
        prior = prior_of([_by_position(scores) for scores in measured])
        self._known[_key(question)] = prior
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return prior


def scoring(text: str, question: FreeQuestion) -> dict[str, Any]:
    """The request to the child. It keeps no prefix of it: those are for tasks."""
    prompt = (
        f"{text}\n\n{asked(question)}\n{listing(question)}\n\n"
        f"Answer with one of these: {', '.join(words_of(question))}."
    )
    return {
        "op": "likelihoods",
        "key": "",
        "probes": [],
        "messages": [{"role": "user", "content": prompt}],
        "words": words_of(question),
    }


def judged(
    question: FreeQuestion, found: Mapping[str, Any], prior: Prior
) -> tuple[Judgement, Usage]:
    """The answer from the child's log likelihoods, the preference taken off, and what it used."""
    scores = _by_position(found["scores"])
    shares = softmax({at: score - prior[at] for at, score in scores.items()})
    weights = list(shares.values())
    best = max(range(len(weights)), key=weights.__getitem__)
    usage = Usage(input_tokens=found["prompt_tokens"], output_tokens=found["lengths"][best])
    return judgement(question, weights), usage


def _by_position(scores: Sequence[float]) -> dict[str, float]:
    return {str(at): score for at, score in enumerate(scores)}


def _key(question: FreeQuestion) -> str:
    return digest_of({name: value for name, value in question.items() if name != "name"})
