"""What a line of an older system's feedback log says about a task. Pure.

Such systems append ``{"timestamp", "event", "details": {"text", ...}}`` for each answer of a model:
a score, a label or entities, sometimes with what a person corrected, and ``performance_metrics``
beside it. The names of fields differ; those that are known are listed here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from inhouse.core.errors import Invalid
from inhouse.core.hashing import canonical_json, digest_of
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskKind, TaskSpec

CUT_AT = 200
"""Loggers of that time kept the first 200 characters of a text, and asked with more."""

_ANSWERS = {
    TaskKind.CHOICE: ("label", "sentiment", "prediction", "class", "category"),
    TaskKind.SCORE: ("score", "value", "prediction"),
    TaskKind.SPANS: ("entities", "spans"),
    TaskKind.JSON: ("output", "result", "response"),
    TaskKind.TEXT: ("output", "summary", "result", "response"),
}
_CORRECTED = ("corrected_{}", "correct_{}", "{}_corrected", "human_{}", "expected_{}", "true_{}")
_CORRECTIONS = (
    "correction",
    "user_correction",
    "corrected",
    "corrected_value",
    "expected",
    "ground_truth",
)
_INSIDE = ("user_feedback", "feedback")
_TEXTS = ("text", "input", "input_text", "content")
_FAILED = re.compile(r"_(?:error|failed|failure)\Z")
_WORDS = re.compile(r"[^a-z0-9]+")
_MODELS = ("model_used", "model", "method")
_SUBJECTS, _GROUPS = ("subject",), ("group", "document")
_AUTHORS = ("author", "reviewer", "corrected_by")
_LONGEST_MODEL, _LONGEST_TAG, _LONGEST_EVENT = 200, 512, 64
_MOST_MILLIS = 1 << 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One answer as a log tells it.

    ``output`` is None when the call failed, or the text was cut and the answer does not fit what is
    left. ``correction`` is an output of the task (unchecked where the text was ``cut``), None where
    nobody corrected. ``tags`` name the event, and the group or document.
    """

    id: str
    at: datetime
    text: str
    failed: bool
    output: dict[str, Any] | None
    raw: str | None
    correction: Any
    cut: bool
    model: str
    latency_ms: float
    subject: str | None
    author: str | None
    tags: dict[str, str]


class OtherEvent(Exception):
    """The line tells of something else; its text is the name of the event."""


def read_line(spec: TaskSpec, entry: Any, events: Collection[str] = ()) -> Logged:
    """One decoded line. ``events`` are the names that belong to the task; by default those that
    hold the words of its name (``score_sentiment`` for ``sentiment``).

    Raises OtherEvent for a line of another event, Invalid that says what is wrong with one.
    """
    event, details = _parts(entry)
    if not _belongs(spec, event, events):
        raise OtherEvent(event[:_LONGEST_EVENT])
    at = _time(entry.get("timestamp") or details.get("timestamp"))
    text = _text(details)
    metrics = entry.get("performance_metrics")
    metrics = metrics if isinstance(metrics, Mapping) else {}
    cut = len(text) == CUT_AT or _length(details, metrics) > len(text)
    given, corrected = _answer(spec, details), _correction(spec, entry, details)
    failed = given is None and ("error" in details or bool(_FAILED.search(event)))
    if given is None and corrected is None and not failed:
        raise Invalid("neither an answer nor a correction stands there")
    return Logged(
        id=_id(at, digest_of([spec.name, entry])),
        at=at,
        text=text,
        failed=failed,
        output=_output(spec, given, text, cut=cut),
        raw=_raw(details, given),
        correction=corrected if cut or corrected is None else _checked(spec, corrected, text),
        cut=cut,
        model=str(_first((metrics, details), _MODELS) or "unknown")[:_LONGEST_MODEL],
        latency_ms=_latency(metrics),
        subject=_word(_first((details, entry), _SUBJECTS)),
        author=_word(_first(_places(entry, details), _AUTHORS)),
        tags=_tags(event, details),
    )


def _parts(entry: Any) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(entry, Mapping):
        raise Invalid("not a JSON object")
    event, details = entry.get("event"), entry.get("details")
    if not isinstance(event, str) or not event or not isinstance(details, Mapping):
        raise Invalid("it has no event with details")
    return event, details


def _belongs(spec: TaskSpec, event: str, events: Collection[str]) -> bool:
    base = _FAILED.sub("", event)
    if events:
        return event in events or base in events
    return set(_WORDS.split(spec.name)) <= set(_WORDS.split(base.lower()))


def _time(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value)
        at = (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise Invalid(f"timestamp {value!r} is no time in ISO 8601") from None
    if at.timestamp() < 0:
        raise Invalid(f"timestamp {value!r} lies before 1970")
    return at


def _text(details: Mapping[str, Any]) -> str:
    text = _first((details,), _TEXTS)
    if not isinstance(text, str) or not text.strip():
        raise Invalid("details hold no text")
    return text


def _length(details: Mapping[str, Any], metrics: Mapping[str, Any]) -> int:
    found = _first((metrics, details), ("text_length",))
    return found if isinstance(found, int) else 0


def _answer(spec: TaskSpec, details: Mapping[str, Any]) -> Any:
    return _first((details,), (*_ANSWERS[spec.kind], spec.name, f"{spec.name}_score"))


def _places(entry: Mapping[str, Any], details: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Where a correction may stand: beside the answer, on the line, or in an object of its own."""
    for place in (details, entry):
        yield place
        yield from (place[name] for name in _INSIDE if isinstance(place.get(name), Mapping))


def _correction(spec: TaskSpec, entry: Mapping[str, Any], details: Mapping[str, Any]) -> Any:
    answers = (*_ANSWERS[spec.kind], spec.name)
    names = [form.format(answer) for answer in answers for form in _CORRECTED]
    found = _first(_places(entry, details), (*names, *_CORRECTIONS))
    if isinstance(found, Mapping) and spec.kind is not TaskKind.JSON:
        inner = _first((found,), (*answers, "value"))
        return found if inner is None else inner
    return found


def _output(spec: TaskSpec, given: Any, text: str, *, cut: bool) -> dict[str, Any] | None:
    if given is None:
        return None
    try:
        return _checked(spec, given, text)
    except Invalid:
        if cut:
            return None
        raise


def _checked(spec: TaskSpec, value: Any, text: str) -> dict[str, Any]:
    if spec.kind is TaskKind.SPANS:
        value = _spans(value)
    elif spec.kind is TaskKind.CHOICE and isinstance(value, str) and value not in spec.labels:
        folded = [label for label in spec.labels if label.casefold() == value.strip().casefold()]
        value = folded[0] if len(folded) == 1 else value
    return outputs.check(spec, value, text)


def _spans(value: Any) -> Any:
    if isinstance(value, Mapping):
        inner = _first((value,), ("entities", "spans"))
        if inner is not None:
            return _spans(inner)
        quotes = [(words, label) for label, several in value.items() for words in _listed(several)]
        return [{"text": words, "label": label} for words, label in quotes]
    return [_span(one) for one in value] if isinstance(value, Sequence) else value


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _span(value: Any) -> Any:
    """One entity in our form, from an object or a list, such as ``[0, 5, "ORG"]``."""
    if isinstance(value, list):
        words = [part for part in value if isinstance(part, str)]
        places = [part for part in value if isinstance(part, int)]
        names = {2: ("text", "label"), 1: ("label",)}.get(len(words), ())
        value = {**dict(zip(names, words, strict=False)), "start": None}
        if len(places) == 2:
            value |= {"start": places[0], "end": places[1]}
    if not isinstance(value, Mapping):
        raise Invalid(f"{str(value)[:_LONGEST_EVENT]!r} is an entity without a type")
    found = {
        "start": _first((value,), ("start", "start_char")),
        "end": _first((value,), ("end", "end_char")),
        "text": _first((value,), ("text", "word", "name")),
        "label": _first((value,), ("label", "type", "entity_group", "entity_type", "entity")),
    }
    return {name: part for name, part in found.items() if part is not None}


def _raw(details: Mapping[str, Any], given: Any) -> str | None:
    """What the model said, else its answer as the log has it."""
    said = _first((details,), ("raw_response", "error"))
    if said is None:
        return None if given is None else canonical_json(given).decode()
    return str(said)


def _latency(metrics: Mapping[str, Any]) -> float:
    seconds = metrics.get("inference_time")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 0:
        return 0.0
    return float(seconds) * 1000


def _tags(event: str, details: Mapping[str, Any]) -> dict[str, str]:
    named = {name: details[name] for name in _GROUPS if details.get(name) not in (None, "")}
    return {name: str(value)[:_LONGEST_TAG] for name, value in {"event": event, **named}.items()}


def _word(value: Any) -> str | None:
    return None if value in (None, "") else str(value)


def _first(places: Any, names: Sequence[str]) -> Any:
    """The first value that stands under one of the names in one of the places."""
    for place in places:
        for name in names:
            if place.get(name) is not None:
                return place[name]
    return None


def _id(at: datetime, digest: str) -> str:
    """A UUIDv7 of that time whose random bits are the content's, so that a line has one id."""
    millis = int(at.timestamp() * 1000) % _MOST_MILLIS
    bits = int(digest, 16)
    high = (millis << 16) | (0x7 << 12) | (bits & 0xFFF)
    low = (0b10 << 62) | ((bits >> 12) & ((1 << 62) - 1))
    return str(UUID(int=(high << 64) | low))
