"""What answers are compared by, for each kind of task. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from inhouse.monitoring.drift_distance import Gap, kinds, numbers
from inhouse.tasks.spec import TaskKind, TaskSpec

Output = Mapping[str, Any]


def answers(spec: TaskSpec, before: Sequence[Output], now: Sequence[Output]) -> list[Gap | None]:
    """Comparisons of two samples of answers. A choice: how often each label is given. A score: its
    values. Spans: how many a text has, and which types it has. A text: its length. An object: its
    fields that are numbers, booleans or one of a list."""
    sides = (before, now)
    match spec.kind:
        case TaskKind.CHOICE:
            return [kinds("labels", *(Counter(str(o["label"]) for o in side) for side in sides))]
        case TaskKind.SCORE:
            return [numbers("values", *([float(o["value"]) for o in side] for side in sides))]
        case TaskKind.TEXT:
            lengths = ([float(len(str(o["text"]))) for o in side] for side in sides)
            return [numbers("characters of answers", *lengths)]
        case TaskKind.SPANS:
            counts = ([float(len(o["spans"])) for o in side] for side in sides)
            types = (Counter(_types(o) for o in side) for side in sides)
            return [numbers("spans per text", *counts), kinds("types", *types)]
        case TaskKind.JSON:
            return list(_fields(spec.schema or {}, before, now))


def _types(output: Output) -> str:
    """The types that a text has: one kind for each set of them, since spans of one text depend on
    each other and texts do not."""
    return " + ".join(sorted({str(span["label"]) for span in output["spans"]})) or "none"


def _fields(
    schema: Mapping[str, Any], before: Sequence[Output], now: Sequence[Output]
) -> Iterator[Gap | None]:
    for name, of in schema.get("properties", {}).items():
        was, is_now = ([o[name] for o in side if o.get(name) is not None] for side in (before, now))
        if of.get("type") in ("number", "integer"):
            yield numbers(f"field {name}", list(map(float, was)), list(map(float, is_now)))
        elif of.get("type") == "boolean" or "enum" in of:
            yield kinds(f"field {name}", Counter(map(str, was)), Counter(map(str, is_now)))
