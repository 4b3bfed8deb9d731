"""Objects that fit a JSON Schema: the schema of a task, and what answers are worth it. Pure.

A number whose schema has ``minimum``, ``maximum`` and ``"x-clamp": true`` is moved into its range
when a general model is off by at most half the range's width, as a score is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

import msgspec

from inhouse.core.errors import Invalid
from inhouse.core.hashing import canonical_json
from inhouse.tasks.reading import Unparsable, json_in

CLAMP = "x-clamp"
_SHOWN = 240
_FAR = 0.5
_LARGEST = 2**63 - 1
_BY_NAME = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTED = ("anyOf", "oneOf", "allOf", "prefixItems")
_INNER = ("items", "additionalProperties", "not", "if", "then", "else", "contains")


def check_schema(schema: Any) -> dict[str, Any]:
    """The schema as plain JSON, with its fields in their order, in which models answer too.

    Raises Invalid (code ``settings``) for what is no JSON Schema of an object with properties,
    refers to something outside, or clamps what has no range.
    """
    plain = _plain(schema)
    if not isinstance(plain, dict) or plain.get("type") != "object":
        raise _refused('schema: its "type" is "object" at the top')
    if not isinstance(plain.get("properties"), dict) or not plain["properties"]:
        raise _refused("schema: it names no properties")
    for part in _parts(plain):
        target = part.get("$ref", part.get("$dynamicRef", "#"))
        if not isinstance(target, str) or not target.startswith("#"):
            raise _refused(f"schema: {target!r} lies outside of it")
        if CLAMP in part and (part[CLAMP] is not True or _range(part) is None):
            raise _refused(f"schema: {CLAMP} is true, beside minimum and maximum")
    try:
        _validator(canonical_json(plain))
    except ValueError as error:
        raise _refused(f"schema: {_reason(error)}") from None
    in_order: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema))
    return in_order


def check_object(name: str, schema: Mapping[str, Any], value: Any) -> dict[str, Any]:
    """An object of the task in its one form. Raises Invalid that names the field at fault."""
    try:
        plain = _plain(value)
        _check_numbers(plain)
        _validator(canonical_json(schema)).validate(plain)
    except (ValueError, TypeError, RecursionError) as error:
        raise Invalid(
            f"no output of {name}: {_reason(error)}",
            code="output",
            hint=f"`inhouse task show {name}` prints the schema",
        ) from None
    return dict(plain)


def parse_object(name: str, schema: Mapping[str, Any], said: str) -> dict[str, Any]:
    """The one object in what a model said that fits the schema. Raises Unparsable.

    An object that does not fit, but wraps one that does under a single name, stands for it.
    """
    try:
        found = [value for each in json_in(said) for value in _candidates(schema, each)]
    except RecursionError:
        raise Unparsable("the objects stand too deep in each other") from None
    if not found:
        raise Unparsable("no JSON object stands there")
    fitting: dict[bytes, dict[str, Any]] = {}
    reason = ""
    for value in found:
        try:
            clamped = clamp(schema, value)
            fitting.setdefault(canonical_json(clamped), check_object(name, schema, clamped))
        except Invalid as error:
            reason = reason or error.message
    if len(fitting) > 1:
        raise Unparsable("several objects stand there")
    if not fitting:
        raise Unparsable(reason)
    return next(iter(fitting.values()))


def clamp(schema: Any, value: Any) -> Any:
    """The value with its numbers moved into their range where the schema says so."""
    if not isinstance(schema, Mapping):
        return value
    if isinstance(value, Mapping):
        inner = schema.get("properties", {})
        return {key: clamp(inner.get(key), each) for key, each in value.items()}
    if isinstance(value, list):
        return [clamp(schema.get("items"), each) for each in value]
    if (
        schema.get(CLAMP) is not True
        or isinstance(value, bool)
        or not isinstance(value, int | float)
    ):
        return value
    low, high = schema["minimum"], schema["maximum"]
    slack = _FAR * (high - low)
    return min(high, max(low, value)) if low - slack <= value <= high + slack else value


def for_models(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema without our own marks, as servers and grammars take it."""
    return dict(_walk(schema, lambda part: {k: v for k, v in part.items() if k != CLAMP}))


def _candidates(schema: Mapping[str, Any], value: Any) -> Iterator[dict[str, Any]]:
    """Objects that a JSON value may mean: itself, the only one in a list, or the wrapped one."""
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if not isinstance(value, dict):
        return
    if any(key in value for key in schema["properties"]):
        yield value
    elif len(value) == 1 and isinstance(inner := next(iter(value.values())), dict):
        yield from _candidates(schema, inner)
    elif value:
        yield value


@lru_cache(maxsize=64)
def _validator(schema: bytes) -> Any:
    """Raises ValueError for what is no JSON Schema."""
    import jsonschema_rs  # noqa: PLC0415 - 3 MB, for tasks with a schema

    try:
        return jsonschema_rs.validator_for(msgspec.json.decode(schema), retriever=_nothing_outside)
    except jsonschema_rs.ReferencingError as error:
        raise ValueError(str(error)) from None


def _nothing_outside(uri: str) -> Any:
    raise ValueError(f"{uri} lies outside of the schema")


def _plain(value: Any) -> Any:
    """The value as JSON holds it: its own copy, without anything that JSON has no form for."""
    return msgspec.json.decode(canonical_json(value))


def _check_numbers(value: Any) -> None:
    """Raise ValueError for an integer that other readers of JSON would not keep."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            _check_numbers(each)
    elif isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError("an integer has more than 64 bits")


def _range(schema: Mapping[str, Any]) -> tuple[float, float] | None:
    low, high = schema.get("minimum"), schema.get("maximum")
    given = isinstance(low, int | float) and isinstance(high, int | float)
    return (low, high) if given and low < high else None  # type: ignore[return-value,operator]


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    found: list[Mapping[str, Any]] = []

    def note(part: Mapping[str, Any]) -> Mapping[str, Any]:
        found.append(part)
        return part

    _walk(schema, note)
    return iter(found)


def _walk(schema: Any, change: Callable[[Mapping[str, Any]], Mapping[str, Any]]) -> Any:
    """The schema with every schema in it changed, from the outside in."""
    if not isinstance(schema, Mapping):
        return schema
    walked = dict(change(schema))
    for key, value in walked.items():
        if key in _BY_NAME and isinstance(value, Mapping):
            walked[key] = {name: _walk(each, change) for name, each in value.items()}
        elif key in _LISTED and isinstance(value, list):
            walked[key] = [_walk(each, change) for each in value]
        elif key in _INNER:
            walked[key] = _walk(value, change)
    return walked


def _reason(error: BaseException) -> str:
    """A reason in one line, with the field it is about."""
    message = getattr(error, "message", None) or str(error)
    path = ".".join(str(part) for part in getattr(error, "instance_path", ()))
    told = f"{path}: {message}" if path else message
    return told if len(told) <= _SHOWN else told[: _SHOWN - 3] + "..."


def _refused(message: str) -> Invalid:
    return Invalid(
        message, code="settings", hint="docs/how-to/my-own-task.md has an example of a schema"
    )
