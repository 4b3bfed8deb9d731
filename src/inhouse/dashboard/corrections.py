"""What a person says about a call: the form's fields, read into statements. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from inhouse.core.errors import Invalid
from inhouse.dashboard.tasks_view import pretty
from inhouse.feedback.submit import FeedbackKind
from inhouse.tasks.spec import TaskKind, TaskSpec

RATINGS: Mapping[str, float] = {"right": 1.0, "wrong": 0.0}
"""What the form offers as a rating."""


@dataclass(frozen=True, slots=True)
class Said:
    """One statement of a form."""

    kind: FeedbackKind
    value: Any


def prefilled(spec: TaskSpec, output: Any) -> str:
    """What the field of a correction holds at first: the answer, where it is worked on; nothing
    where the right one is picked or typed anew."""
    if spec.kind is TaskKind.TEXT:
        return str(output.get("text", "")) if isinstance(output, Mapping) else ""
    if spec.kind is TaskKind.JSON:
        return pretty(output) if output is not None else "{}"
    if spec.kind is TaskKind.SPANS:
        return pretty(output["spans"] if isinstance(output, Mapping) else [])
    return ""


def read(form: Mapping[str, str], spec: TaskSpec | None, output: Any) -> list[Said]:
    """The statements of a form: a correction that differs from what was filled in, a rating, a
    comment. Raises Invalid (codes ``output``, ``feedback-value``) that says which field, and why.
    """
    said = []
    corrected = form.get("correction", "").strip()
    if spec is not None and corrected and corrected != prefilled(spec, output).strip():
        said.append(Said(FeedbackKind.CORRECTION, _correction(spec, corrected)))
    if (rating := form.get("rating", "")) in RATINGS:
        said.append(Said(FeedbackKind.RATING, RATINGS[rating]))
    if comment := form.get("comment", "").strip():
        said.append(Said(FeedbackKind.COMMENT, comment))
    if not said:
        raise Invalid(
            "nothing is said yet",
            code="feedback-value",
            hint="correct the answer, rate it, or write a comment",
        )
    return said


def _correction(spec: TaskSpec, text: str) -> Any:
    match spec.kind:
        case TaskKind.CHOICE:
            return {"label": text}
        case TaskKind.SCORE:
            return {"value": _number(spec, text)}
        case TaskKind.TEXT:
            return {"text": text}
        case TaskKind.SPANS:
            return {"spans": _json(text)}
        case TaskKind.JSON:
            return _json(text)


def _number(spec: TaskSpec, text: str) -> float:
    try:
        return float(text.replace(",", ".").replace("\N{MINUS SIGN}", "-"))
    except ValueError:
        raise Invalid(
            f"the correction {text!r} is no number",
            code="output",
            hint=f"write a number from {spec.low:g} to {spec.high:g}",
        ) from None


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Invalid(
            f"the correction is no JSON: {error}", code="output", hint="mend it and save again"
        ) from None
