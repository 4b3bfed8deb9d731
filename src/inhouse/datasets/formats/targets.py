"""A task's outputs as the columns and cells of a file. Nothing is guessed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from inhouse.core.errors import Invalid
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskKind, TaskSpec

COLUMNS = {
    TaskKind.CHOICE: ("label", "target"),
    TaskKind.SCORE: ("score", "value", "label", "target"),
    TaskKind.SPANS: ("spans", "entities", "target"),
    TaskKind.JSON: ("output", "target"),
    TaskKind.TEXT: ("output", "target"),
}
"""Names that a target's column may have, by kind; the first one is what is written."""


def cell(spec: TaskSpec, target: Mapping[str, Any]) -> str:
    """A target as text: spans and json as JSON, the others as they are."""
    value = outputs.bare(spec, target)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def target_of(spec: TaskSpec, value: Any, text: str) -> dict[str, Any]:
    """The output that a field of a file says about ``text``. Raises Invalid that says what is
    wrong. Words are read as a number for a score and as JSON for spans and json.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Invalid("the target is empty")
    if isinstance(value, str):
        if spec.kind is TaskKind.SCORE:
            value = number(value, "the target")
        elif spec.kind in (TaskKind.SPANS, TaskKind.JSON):
            value = _decoded(value)
    return outputs.check(spec, value, text)


def number(value: Any, what: str) -> float:
    """A finite number, also from text. Raises Invalid."""
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise Invalid(f"{what} {value!r} is no number")
    return found


def _decoded(value: str) -> Any:
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError):
        raise Invalid("the target is not JSON") from None
