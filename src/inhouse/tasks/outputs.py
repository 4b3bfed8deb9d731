"""From what a model said to a valid output of the task, or a clear refusal to guess.

A general model's text is read generously where its meaning is certain (JSON in a code fence, one
label in a sentence, a number beside the word "score") and refused where it is not: two different
labels, several numbers, a refusal, nothing. What cannot be read is a failure, never a silent 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from inhouse.core.errors import Invalid
from inhouse.tasks.spec import TaskKind, TaskSpec

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w%])(?!\.\d)")
_LETTER = re.compile(r"[^\W\d_]")
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_OBJECT = re.compile(r"\{[^{}]*\}")
_NAMED = re.compile(
    r"\b(?:score|sentiment|value|rating|answer|result|rate|this|it|is|as|at)\b[^\w\n+\-−.]{0,3}"
    r"(?:(?:is|as|of|at|be|would|the|a|an)\s+){0,3}([-+−]?(?:\d+\.?\d*|\.\d+))(?![\w%])",
    re.IGNORECASE,
)
_SCALE = re.compile(
    r"(?:from|between|scale(?: of)?)\s+[-+−]?[\d.]+\s*(?:to|and|-|–)\s*[-+−]?[\d.]+", re.IGNORECASE
)
_REFUSAL = re.compile(
    r"\b(?:i(?:'|’)?m sorry|i am sorry|i can(?:no|'|’)t|i cannot|i am unable|i(?:'|’)?m unable|"
    r"as an ai|i apologi[sz]e|unable to (?:determine|assess|provide))",
    re.IGNORECASE,
)
_DENIAL = re.compile(r"(?:\bnot|n't|n’t|\bneither|\bnor)\s+(?:\w+\s+)?$")
_NEAR = 64
_KEYS = ("value", "label", "score", "sentiment", "bias", "answer", "rating", "result", "class")
_FAR = 0.5
KEYS = {TaskKind.CHOICE: "label", TaskKind.SCORE: "value", TaskKind.TEXT: "text"}
"""The one key of an output, by kind."""


class Unparsable(ValueError):
    """What the model said is no answer to the task; the text says why."""


def parse(spec: TaskSpec, content: str) -> dict[str, Any]:
    """Read a general model's answer. Returns an output; raises Unparsable.

    A number outside the range is clamped when it lies within half the range's width of it, and
    refused beyond that.
    """
    text = content.strip()
    if not text:
        raise Unparsable("the answer is empty")
    if spec.kind is TaskKind.TEXT:
        return {"text": content}
    structured = _structured(text)
    if structured is not None:
        return _from_structured(spec, structured)
    return _label(spec, text) if spec.kind is TaskKind.CHOICE else _number(spec, text)


def check(spec: TaskSpec, output: Any) -> dict[str, Any]:
    """A typed output (or a correction's value) in its one form. Raises Invalid that says what fits.

    Accepts ``{"label": "x"}`` and ``"x"`` for a choice, ``{"value": 0.5}`` and ``0.5`` for a score,
    ``{"text": "x"}`` and ``"x"`` for a text.
    """
    key = KEYS[spec.kind]
    if isinstance(output, Mapping):
        if set(output) != {key}:
            raise Invalid(f"an output of {spec.name} is {{{key!r}: ...}}", code="output")
        output = output[key]
    if spec.kind is TaskKind.CHOICE:
        if not isinstance(output, str) or output not in spec.labels:
            raise Invalid(
                f"{output!r} is no label of {spec.name}",
                code="output",
                hint="labels: " + ", ".join(spec.labels),
            )
        return {"label": output}
    if spec.kind is TaskKind.TEXT:
        if not isinstance(output, str) or not output:
            raise Invalid(f"{output!r} is no text", code="output", hint="a text, not empty")
        return {"text": output}
    number = _finite(output)
    if number is None or not spec.low <= number <= spec.high:
        raise Invalid(
            f"{output!r} is no score of {spec.name}",
            code="output",
            hint=f"a number from {spec.low:g} to {spec.high:g}",
        )
    return {"value": number}


def from_probabilities(spec: TaskSpec, probabilities: Mapping[str, float]) -> dict[str, Any]:
    """The output that probabilities by word stand for: the likeliest label (the first of equals, in
    the declared order), or the expected value over the levels."""
    if spec.kind is TaskKind.CHOICE:
        return {"label": max(spec.labels, key=lambda label: probabilities[label])}
    value = sum(probabilities[word] * level for word, level in spec.levels)
    return {"value": min(spec.high, max(spec.low, value))}


def describe(spec: TaskSpec) -> str:
    """What a valid answer is, in words for a model or a person."""
    if spec.kind is TaskKind.CHOICE:
        return "exactly one of these words: " + ", ".join(spec.labels)
    if spec.kind is TaskKind.TEXT:
        return "a text"
    return f"one number from {spec.low:g} to {spec.high:g}"


def repair_prompt(spec: TaskSpec, reason: str) -> str:
    """The message that asks once more after an answer that could not be read."""
    return f"That is not a valid answer ({reason}). Answer with {describe(spec)}, nothing else."


def _structured(text: str) -> Any:
    """The JSON that the answer is, or holds as its only object; None when there is none."""
    fenced = _FENCE.search(text)
    candidates = [fenced[1].strip()] if fenced else [text]
    objects = _OBJECT.findall(text)
    if len(objects) == 1:
        candidates.append(objects[0])
    for candidate in candidates:
        try:
            return msgspec.json.decode(candidate)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
    return None


def _from_structured(spec: TaskSpec, value: Any) -> dict[str, Any]:
    if isinstance(value, Mapping):
        found = [value[key] for key in (*_KEYS, spec.name) if key in value]
        if not found:
            raise Unparsable("the JSON holds no answer")
        value = found[0]
    if isinstance(value, str):
        return _label(spec, value) if spec.kind is TaskKind.CHOICE else _number(spec, value)
    if spec.kind is TaskKind.CHOICE:
        raise Unparsable("the JSON holds no label")
    return _clamped(spec, _finite(value))


def _label(spec: TaskSpec, text: str) -> dict[str, Any]:
    folded = text.casefold().strip(" \t\r\n.\"'`*:!")
    for label in spec.labels:
        if folded == label.casefold():
            return {"label": label}
    if _REFUSAL.search(text):
        raise Unparsable("the model refused")
    found = _mentioned(spec.labels, folded)
    if len(found) != 1:
        raise Unparsable("no label is named" if not found else "several labels are named")
    return {"label": found[0]}


def _mentioned(labels: tuple[str, ...], folded: str) -> list[str]:
    """Labels that stand in the text as whole words, longest first, and not denied by "not"."""
    found = []
    for label in sorted(labels, key=len, reverse=True):
        pattern = re.compile(rf"(?<![\w-]){re.escape(label.casefold())}(?![\w-])")
        hits = list(pattern.finditer(folded))
        if not hits:
            continue
        if any(_DENIAL.search(folded[max(0, h.start() - _NEAR) : h.start()]) for h in hits):
            raise Unparsable("a label is denied")
        found.append(label)
        folded = pattern.sub(" ", folded)
    return found


def _number(spec: TaskSpec, text: str) -> dict[str, Any]:
    plain = _SCALE.sub(" ", text)
    found = {_to_float(number) for number in _NUMBER.findall(plain)}
    if len(found) > 1 or (found and _LETTER.search(plain)):
        named = {_to_float(number) for number in _NAMED.findall(plain)}
        if not named and len(found) == 1:
            raise Unparsable("a number stands there, but not as the answer")
        found = named if len(named) == 1 else found
    if not found:
        raise Unparsable("the model refused" if _REFUSAL.search(text) else "no number is named")
    if len(found) > 1:
        raise Unparsable("several numbers are named")
    return _clamped(spec, found.pop())


def _clamped(spec: TaskSpec, number: float | None) -> dict[str, Any]:
    if number is None:
        raise Unparsable("no finite number is named")
    slack = _FAR * spec.span
    if not spec.low - slack <= number <= spec.high + slack:
        raise Unparsable(f"{number:g} is far outside {spec.low:g} to {spec.high:g}")
    return {"value": min(spec.high, max(spec.low, number))}


def _to_float(text: str) -> float:
    return float(text.replace("−", "-"))


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
