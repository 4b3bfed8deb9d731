"""JSON Schemas as what generates is told of them: bounded, in outline, strict. Pure.

A schema here is one that ``tasks.catalog`` has checked, or one of a caller; what is malformed in it
is passed on for the generator to refuse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

MOST_ITEMS: Final = 16
"""Items of a list whose schema allows more; a small model would go on and on."""
LONGEST_TEXT: Final = 400
"""Characters of a text whose schema allows more."""
_DEEPEST: Final = 5
_BY_NAME: Final = ("properties", "$defs", "definitions", "patternProperties")
_LISTS: Final = ("anyOf", "oneOf", "prefixItems")
_ONE: Final = ("items", "additionalProperties")
_PARTS: Final = frozenset({"allOf", "anyOf", "oneOf", "$ref", "if", "patternProperties"})


def bounded(schema: Any) -> Any:
    """The schema with an end to everything: lists of ``MOST_ITEMS`` at most and texts of
    ``LONGEST_TEXT``, unless the schema demands more, and no fields but those that it names. What
    fits the result fits the schema."""
    if not isinstance(schema, Mapping):
        return schema
    found = {key: _within(key, value) for key, value in schema.items()}
    if _is(schema, "array"):
        _cap(found, "maxItems", "minItems", MOST_ITEMS)
    if _is(schema, "string") and "pattern" not in schema and "format" not in schema:
        _cap(found, "maxLength", "minLength", LONGEST_TEXT)
    if "properties" in schema and not _PARTS & set(schema):
        found["additionalProperties"] = False
    return found


def outline(schema: Any) -> Any:
    """A value with every field, empty texts, and one item in each list, to some depth: whatever is
    begun of an answer, its end is not longer. It need not fit patterns and the like."""
    return _outline(schema, schema, _DEEPEST)


def is_strict(schema: Any) -> bool:
    """Whether every object in the schema demands all its fields and allows no other, which is what
    OpenAI's ``strict`` asks for."""
    if isinstance(schema, list):
        return all(is_strict(each) for each in schema)
    if not isinstance(schema, Mapping):
        return True
    if _is(schema, "object"):
        named = set(schema.get("properties") or ())
        if (
            schema.get("additionalProperties") is not False
            or set(schema.get("required", ())) != named
        ):
            return False
    return all(is_strict(each) for key, each in schema.items() if key not in ("enum", "const"))


def _within(key: str, value: Any) -> Any:
    """What a keyword of a schema holds, with the schemas in it bounded."""
    if key in _BY_NAME and isinstance(value, Mapping):
        return {name: bounded(each) for name, each in value.items()}
    if key in _LISTS and isinstance(value, list):
        return [bounded(each) for each in value]
    return bounded(value) if key in _ONE else value


def _cap(schema: dict[str, Any], most: str, least: str, limit: int) -> None:
    limit = max(limit, schema.get(least, 0))
    schema[most] = min(schema.get(most, limit), limit)


def _is(schema: Mapping[str, Any], kind: str) -> bool:
    declared = schema.get("type")
    return kind in declared if isinstance(declared, list) else declared == kind


def _outline(schema: Any, root: Any, depth: int) -> Any:
    if not isinstance(schema, Mapping) or not depth:
        return None
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return max(schema["enum"], key=lambda each: len(str(each)))
    if "$ref" in schema:
        return _outline(_pointed(root, str(schema["$ref"])), root, depth - 1)
    for key in ("anyOf", "oneOf"):
        if schema.get(key):
            found = [_outline(each, root, depth - 1) for each in schema[key]]
            return max(found, key=lambda each: len(str(each)))
    if _is(schema, "object"):
        fields = schema.get("properties") or {}
        return {name: _outline(each, root, depth - 1) for name, each in fields.items()}
    if _is(schema, "array"):
        return [_outline(schema.get("items"), root, depth - 1)] * max(1, schema.get("minItems", 0))
    if _is(schema, "string"):
        return "x" * schema.get("minLength", 0)
    return None if _is(schema, "null") else schema.get("minimum", 0)


def _pointed(root: Any, pointer: str) -> Any:
    """What a ``#/...`` pointer names; None when there is nothing."""
    found = root
    for part in pointer.removeprefix("#").split("/")[1:]:
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
