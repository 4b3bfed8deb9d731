"""What an object is worth, field by field, by the kinds that its schema gives them. Pure.

| field | worth |
|---|---|
| `enum`, `const`, boolean, integer, text with `format` or `pattern` | 1 if equal, else 0 |
| number or integer with `minimum` and `maximum` | 1 - error / range |
| other number | 1 - error / size of the right one |
| array | F1 of the set of its items |
| object with `properties` | mean over them |
| other text | ROUGE-L F1 |

A field that is left out, or null, on one side only is worth 0; on both sides, 1. A field whose
schema does not say its kind is taken by the right value's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from inhouse.core.hashing import canonical_json
from inhouse.tasks.rouge import rouge_l

_DEPTH = 16
_EXACT = ("enum", "const", "format", "pattern")


def field_scores(
    schema: Mapping[str, Any], output: Mapping[str, Any], target: Mapping[str, Any]
) -> dict[str, float]:
    """Worth in [0, 1] of every property that the schema names at the top."""
    return _properties(schema, schema, output, target, 0)


def _properties(
    root: Mapping[str, Any], schema: Mapping[str, Any], output: Any, target: Any, depth: int
) -> dict[str, float]:
    return {
        name: _worth(root, inner, output.get(name), target.get(name), depth + 1)
        for name, inner in schema["properties"].items()
    }


def _worth(root: Mapping[str, Any], schema: Any, output: Any, target: Any, depth: int) -> float:
    if output is None or target is None:
        return float(output is target)
    schema = resolved(root, schema)
    if any(name in schema for name in _EXACT) or depth > _DEPTH:
        return _equal(output, target)
    if _number(output) and _number(target):
        return _closeness(schema, output, target)
    if isinstance(output, str) and isinstance(target, str):
        return rouge_l(output, target)
    if isinstance(output, list) and isinstance(target, list):
        return _set_f1(output, target)
    if isinstance(output, Mapping) and isinstance(target, Mapping) and schema.get("properties"):
        found = _properties(root, schema, output, target, depth)
        return math.fsum(found.values()) / len(found)
    return _equal(output, target)


def resolved(root: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """The schema behind references within the root, and behind a choice with null."""
    for _ in range(_DEPTH):
        if not isinstance(schema, Mapping):
            return {}
        if "$ref" in schema:
            schema = _pointed(root, schema["$ref"])
            continue
        options = [
            option
            for option in schema.get("anyOf", schema.get("oneOf", ()))
            if not (isinstance(option, Mapping) and option.get("type") == "null")
        ]
        if len(options) != 1:
            return schema
        schema = options[0]
    return {}


def _pointed(root: Any, reference: str) -> Any:
    """What a JSON pointer such as ``#/$defs/place`` points at; nothing for other references."""
    for part in reference.removeprefix("#").split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        root = root.get(name) if isinstance(root, Mapping) else None
    return root


def _closeness(schema: Mapping[str, Any], output: float, target: float) -> float:
    bounds = schema.get("minimum"), schema.get("maximum")
    if _number(bounds[0]) and _number(bounds[1]):
        width = float(bounds[1]) - float(bounds[0])  # type: ignore[arg-type]
    else:
        width = 0.0 if schema.get("type") == "integer" else abs(float(target))
    if width <= 0:
        return _equal(output, target)
    return max(0.0, 1.0 - abs(float(output) - float(target)) / width)


def _set_f1(output: list[Any], target: list[Any]) -> float:
    said, meant = ({canonical_json(item) for item in items} for items in (output, target))
    total = len(said) + len(meant)
    return 2 * len(said & meant) / total if total else 1.0


def _equal(output: Any, target: Any) -> float:
    if isinstance(output, bool) is not isinstance(target, bool):
        return 0.0
    return float(output == target)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
