"""The form of an answer, as the embedded model's child is told of it. No torch here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from inhouse.core.errors import BackendError
from inhouse.inference.base import Question
from inhouse.inference.schemas import bounded, outline
from inhouse.tasks.outputs import response_schema
from inhouse.tasks.spec import TaskKind, TaskSpec

_ANY_OBJECT: Final = {"type": "object"}
_ROOM: Final = {TaskKind.SCORE: 32, TaskKind.TEXT: 256, TaskKind.SPANS: 512, TaskKind.JSON: 768}
_TOKENS_PER_S: Final = 8
"""What a slow core does; an answer that is to be whole ends before its deadline."""


def form_of(question: Question) -> dict[str, Any] | None:
    """What keeps an answer to its form: quotes of the input for spans, the schema for json and for
    chats that ask for one, a number of the range for a score; None for texts.

    Raises BackendError (``unsupported``) for a ``response_format`` that nobody knows.
    """
    spec = question.task
    if spec is None or spec.kind is TaskKind.TEXT:
        return _asked(question.options.get("response_format"))
    if spec.kind is TaskKind.SPANS:
        return {"quotes": question.text, "labels": spec.labels}
    if spec.kind is TaskKind.SCORE:
        return _schema(_number(spec))
    schema = response_schema(spec)
    return None if schema is None else _schema(schema, lenient=True)


def room_of(spec: TaskSpec) -> int:
    """Tokens for an answer to the task."""
    room = _ROOM[spec.kind]
    return min(room, max(1, int(spec.timeout_s * _TOKENS_PER_S)))


def said(form: Mapping[str, Any] | None, content: str) -> str:
    """The answer in this form. A small model likes to say a quote again under the next label: the
    first counts. ``content`` is whole."""
    if form is None or "quotes" not in form:
        return content
    labels: dict[str, str] = {}
    spans = [
        span
        for span in msgspec.json.decode(content)["spans"]
        if labels.setdefault(span["text"], span["label"]) == span["label"]
    ]
    return msgspec.json.encode({"spans": spans}).decode()


def _number(spec: TaskSpec) -> dict[str, Any]:
    """A number of the range, to about a hundredth of it, so that its digits end."""
    step = 10.0 ** (math.floor(math.log10(spec.span)) - 2)
    return {"type": "number", "minimum": spec.low, "maximum": spec.high, "multipleOf": step}


def _asked(response_format: Any) -> dict[str, Any] | None:
    """The form that a chat asks for in OpenAI's words."""
    asked = response_format if isinstance(response_format, Mapping) else {}
    kind, told = asked.get("type"), asked.get("json_schema")
    if response_format is None or kind == "text":
        return None
    if kind == "json_object":
        return _schema(_ANY_OBJECT)
    schema = told.get("schema") if isinstance(told, Mapping) else None
    if kind == "json_schema" and isinstance(schema, Mapping):
        return _schema(schema)
    raise BackendError(
        "response_format: not a form that the embedded model knows",
        code="unsupported",
        hint="text, json_object, or json_schema with its schema",
        fatal=True,
    )


def _schema(schema: Mapping[str, Any], *, lenient: bool = False) -> dict[str, Any]:
    """``lenient``: what the grammar cannot express is left to the check of the answer."""
    return {"schema": bounded(schema), "outline": outline(schema), "lenient": lenient}
