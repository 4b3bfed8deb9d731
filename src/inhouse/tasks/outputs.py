"""From what a model said to a valid output of the task, or a clear refusal to guess.

A general model's text is read generously where its meaning is certain (JSON in a code fence, one
label in a sentence, a number beside the word "score") and refused where it is not: two different
labels, several numbers, a refusal, nothing. What cannot be read is a failure, never a silent 0.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from inhouse.core.errors import Invalid
from inhouse.tasks.reading import Unparsable as Unparsable
from inhouse.tasks.spans import check_spans, parse_spans
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.tasks.structures import check_object, for_models, parse_object

_NUMBER = re.compile(r"(?<![\w.])[-+−]?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?(?![\w%])(?!\.\d)")
_LETTER = re.compile(r"[^\W\d_]")
_FENCE = re.compile(r"```(?:json)?(.*?)```", re.DOTALL)
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
_ONE_KEY = {TaskKind.CHOICE: "label", TaskKind.SCORE: "value", TaskKind.TEXT: "text"}
"""The one key of an output, by kind."""


def parse(spec: TaskSpec, content: str, text: str = "") -> dict[str, Any]:
    """Read a general model's answer about ``text``. Returns an output; raises Unparsable.

    A number outside the range is clamped when it lies within half the range's width of it, and
    refused beyond that. Of spans the model says the words, which are located in ``text``.
    """
    said = content.strip()
    if not said:
        raise Unparsable("the answer is empty")
    if spec.kind is TaskKind.TEXT:
        return {"text": content}
    if spec.kind is TaskKind.SPANS:
        return {"spans": parse_spans(spec.name, spec.labels, said, text)}
    if spec.kind is TaskKind.JSON:
        return parse_object(spec.name, spec.schema or {}, said)
    structured = _structured(said)
    if structured is not None:
        return _from_structured(spec, structured)
    return _label(spec, said) if spec.kind is TaskKind.CHOICE else _number(spec, said)


def check(spec: TaskSpec, output: Any, text: str | None = None) -> dict[str, Any]:
    """A typed output (or a correction's value) in its one form. Raises Invalid that says what fits.

    Accepts ``{"label": "x"}`` and ``"x"`` for a choice, ``{"value": 0.5}`` and ``0.5`` for a score,
    ``{"text": "x"}`` and ``"x"`` for a text, ``{"spans": [...]}`` and ``[...]`` for spans, and an
    object that fits the schema for json. With ``text``, the input, spans are verified against it,
    and those that only quote it are located; without it they are taken as they are.
    """
    if spec.kind is TaskKind.JSON:
        return check_object(spec.name, spec.schema or {}, output)
    if spec.kind is TaskKind.SPANS:
        return {"spans": check_spans(spec.labels, _only(spec, output, "spans"), text)}
    value = _only(spec, output, *_KEYS_TAKEN[spec.kind])
    return {_ONE_KEY[spec.kind]: _CHECKS[spec.kind](spec, value)}


def bare(spec: TaskSpec, output: Mapping[str, Any]) -> Any:
    """An output without what is around it: the label, the number, the text, the list of spans, or
    the object."""
    if spec.kind is TaskKind.JSON:
        return output
    return output["spans" if spec.kind is TaskKind.SPANS else _ONE_KEY[spec.kind]]


def in_words(spec: TaskSpec, output: Mapping[str, Any]) -> str:
    """An output as a person reads it: spans as ``Ada (PERSON), London (PLACE)``, json as JSON."""
    value = bare(spec, output)
    if spec.kind is TaskKind.SPANS:
        return ", ".join(f"{span['text']} ({span['label']})" for span in value) or "no spans"
    return msgspec.json.encode(value).decode() if spec.kind is TaskKind.JSON else str(value)


def response_schema(spec: TaskSpec) -> dict[str, Any] | None:
    """JSON Schema of what a general model is to say: quotes with labels for spans, the task's own
    schema for json; None for kinds that are answered in words."""
    if spec.kind is TaskKind.JSON:
        return for_models(spec.schema or {})
    if spec.kind is not TaskKind.SPANS:
        return None
    quote = {"text": {"type": "string"}, "label": {"type": "string", "enum": list(spec.labels)}}
    return _closed({"spans": {"type": "array", "items": _closed(quote)}})


def _closed(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def from_probabilities(spec: TaskSpec, probabilities: Mapping[str, float]) -> dict[str, Any]:
    """The output that probabilities by word stand for: the likeliest label (the first of equals, in
    the declared order), or the expected value over the levels."""
    if spec.kind is TaskKind.CHOICE:
        return {"label": max(spec.labels, key=lambda label: probabilities[label])}
    value = sum(probabilities[word] * level for word, level in spec.levels)
    return {"value": min(spec.high, max(spec.low, value))}


def describe(spec: TaskSpec) -> str:
    """What a valid answer is, in words for a model or a person."""
    match spec.kind:
        case TaskKind.CHOICE:
            return "exactly one of these words: " + ", ".join(spec.labels)
        case TaskKind.TEXT:
            return "a text"
        case TaskKind.SPANS:
            return (
                'JSON such as {"spans": [{"text": "words of the text", "label": "'
                + f'{spec.labels[0]}"}}]}}, every text quoted exactly and in order, every label one'
                " of: " + ", ".join(spec.labels)
            )
        case TaskKind.JSON:
            schema = msgspec.json.encode(response_schema(spec)).decode()
            return f"one JSON object that fits this schema: {schema}"
        case TaskKind.SCORE:
            return f"one number from {spec.low:g} to {spec.high:g}"


def repair_prompt(spec: TaskSpec, reason: str) -> str:
    """The message that asks once more after an answer that could not be read."""
    return f"That is not a valid answer ({reason}). Answer with {describe(spec)}, nothing else."


def _only(spec: TaskSpec, output: Any, *keys: str) -> Any:
    """What an output holds under its one key, or the value itself where there is none around."""
    if not isinstance(output, Mapping):
        return output
    if len(output) != 1 or next(iter(output)) not in keys:
        raise Invalid(f"an output of {spec.name} is {{{keys[0]!r}: ...}}", code="output")
    return next(iter(output.values()))


def _check_label(spec: TaskSpec, value: Any) -> str:
    if not isinstance(value, str) or value not in spec.labels:
        raise Invalid(
            f"{value!r} is no label of {spec.name}",
            code="output",
            hint="labels: " + ", ".join(spec.labels),
        )
    return value


def _check_text(_spec: TaskSpec, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise Invalid(f"{value!r} is no text", code="output", hint="a text, not empty")
    return value


def _check_number(spec: TaskSpec, value: Any) -> float:
    number = _finite(value)
    if number is None or not spec.low <= number <= spec.high:
        raise Invalid(
            f"{value!r} is no score of {spec.name}",
            code="output",
            hint=f"a number from {spec.low:g} to {spec.high:g}",
        )
    return number


_CHECKS: dict[TaskKind, Callable[[TaskSpec, Any], Any]] = {
    TaskKind.CHOICE: _check_label,
    TaskKind.SCORE: _check_number,
    TaskKind.TEXT: _check_text,
}
_KEYS_TAKEN = {
    TaskKind.CHOICE: ("label",),
    TaskKind.SCORE: ("value",),
    TaskKind.TEXT: ("text", "label"),
}
"""A plain word in feedback is kept as a label while its task is not known."""


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
