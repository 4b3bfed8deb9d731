"""Free typed questions as a general model reads them, and its answers as probabilities. Pure.

A question is one of ``POST /v1/decisions``, checked: ``type`` (predicate, choice, score),
``instructions`` (a text), ``choices`` or ``levels``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from inhouse.client.decisions import (
    ChoiceAnswer,
    ChoiceProbability,
    DecisionAnswer,
    LevelProbability,
    PredicateAnswer,
    RefusalAnswer,
    ScoreAnswer,
)
from inhouse.inference.base import Judgement

FreeQuestion = Mapping[str, Any]
YES_NO: Final = ("yes", "no")


def words_of(question: FreeQuestion) -> list[str]:
    """What a model may answer: one word or name per choice or level, yes and no for a predicate.

    Values that read alike (``true`` and ``"true"``) are told apart by their quotes.
    """
    match question["type"]:
        case "predicate":
            return list(YES_NO)
        case "choice":
            values = [choice["value"] for choice in question["choices"]]
        case _:
            values = [level["label"] for level in question["levels"]]
    words = [value if isinstance(value, str) else str(value).lower() for value in values]
    if len(set(words)) == len(words):
        return words
    return [msgspec.json.encode(value).decode() for value in values]


def listing(question: FreeQuestion, marks: Sequence[str] | None = None) -> str:
    """The answers allowed, one a line with its description, behind their marks if there are any."""
    if question["type"] == "predicate":
        descriptions = ["the statement is true", "it is not"]
    else:
        options = question["choices" if question["type"] == "choice" else "levels"]
        descriptions = [option.get("description") or "" for option in options]
    heads = marks or ["-"] * len(descriptions)
    return "\n".join(
        f"{head} {word}: {description}" if description else f"{head} {word}"
        for head, word, description in zip(heads, words_of(question), descriptions, strict=True)
    )


def asked(question: FreeQuestion) -> str:
    """The question itself, in words."""
    match question["type"]:
        case "predicate":
            return f"Is this statement about the text true? {question['instructions']}"
        case "choice":
            return str(question["instructions"])
        case _:
            return f"{question['instructions']}\nThe levels go from the lowest to the highest."


def judgement(question: FreeQuestion, weights: Sequence[float]) -> Judgement:
    """The answer from one weight per word, which need not sum to 1.

    Raises ValueError when they are no distribution: negative, not finite, or all 0.
    """
    if any(not math.isfinite(weight) or weight < 0 for weight in weights):
        raise ValueError("a probability is negative or not finite")
    total = math.fsum(weights)
    if total <= 0:
        raise ValueError("all probabilities are 0")
    shares = tuple(weight / total for weight in weights)
    return Judgement(probabilities=shares[:1] if question["type"] == "predicate" else shares)


def answer_of(question: FreeQuestion, judged: Judgement) -> DecisionAnswer:
    """The answer as it goes on the wire. Levels are counted from 0, as OpenAI does."""
    name, shares = question.get("name"), judged.probabilities
    if shares is None:
        return RefusalAnswer(name=name)
    match question["type"]:
        case "predicate":
            return PredicateAnswer(name=name, probability=shares[0])
        case "choice":
            values = [choice["value"] for choice in question["choices"]]
            return ChoiceAnswer(
                name=name,
                choice=values[_likeliest(shares)],
                confidence=choice_confidence(shares),
                probabilities=[
                    ChoiceProbability(value=value, probability=share)
                    for value, share in zip(values, shares, strict=True)
                ],
            )
        case _:
            labels = [level["label"] for level in question["levels"]]
            return ScoreAnswer(
                name=name,
                score=math.fsum(at * share for at, share in enumerate(shares)),
                confidence=score_confidence(shares),
                probabilities=[
                    LevelProbability(label=label, value=at, probability=share)
                    for at, (label, share) in enumerate(zip(labels, shares, strict=True))
                ],
            )


def choice_confidence(shares: Sequence[float]) -> float:
    """How far the likeliest value is above chance: 0 when all are equal, 1 when one is certain."""
    chance = 1 / len(shares)
    return min(1.0, max(0.0, (max(shares) - chance) / (1 - chance)))


def score_confidence(shares: Sequence[float]) -> float:
    """1 when one level is certain; 0 when the mean distance from the likeliest level is that of
    levels drawn at random from the middle of the scale, or more."""
    middle, top = (len(shares) - 1) / 2, _likeliest(shares)
    chance = math.fsum(abs(at - middle) for at in range(len(shares))) / len(shares)
    distance = math.fsum(share * abs(at - top) for at, share in enumerate(shares))
    return max(0.0, 1 - distance / chance)


def _likeliest(shares: Sequence[float]) -> int:
    return max(range(len(shares)), key=shares.__getitem__)
