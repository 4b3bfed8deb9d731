"""Objects that fit a schema: what is taken from a model, and what a schema may say."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.errors import Invalid
from inhouse.tasks.outputs import Unparsable, bare, check, describe, in_words, parse
from inhouse.tasks.outputs import response_schema as schema_of
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.tasks.structures import check_schema

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "topic": {"enum": ["trade", "sport"]},
        "urgency": {"type": "number", "minimum": 0, "maximum": 10, "x-clamp": True},
        "places": {"type": "array", "items": {"type": "string"}},
        "author": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
            "required": ["name"],
        },
    },
    "required": ["topic", "urgency"],
    "additionalProperties": False,
}
SPEC = TaskSpec(
    name="report", kind=TaskKind.JSON, description="", schema=SCHEMA, prompt="{{ input }}"
)
GOOD = {"topic": "trade", "urgency": 3.5}
SAID = '{"topic": "trade", "urgency": 3.5}'


@pytest.mark.parametrize(
    "said",
    [
        SAID,
        f"  {SAID}\n",
        f"```json\n{SAID}\n```",
        f"```\n{SAID}\n```",
        f"The report is {SAID}.",
        f"{{sic}} a brace, then {SAID} and }} the end",
        f"Twice the same: {SAID} and {SAID}",
        f'Not {{"topic": "weather", "urgency": 1}} but {SAID}',
        f"[{SAID}]",
        f'{{"report": {SAID}}}',
        f'{{"answer": {{"output": {SAID}}}}}',
    ],
)
def test_an_object_is_read_where_it_is_certain(said: str) -> None:
    assert parse(SPEC, said) == GOOD


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("It is about trade.", "no JSON object"),
        ("{}", "no JSON object"),
        ("[]", "no JSON object"),
        ('"trade"', "no JSON object"),
        (SAID[:-1], "no JSON object"),
        (SAID[:-1] + ",}", "no JSON object"),
        (SAID.replace('"', "'"), "no JSON object"),
        (f"[{SAID}, {SAID}]", "no JSON object"),
        (f'{SAID} or {{"topic": "sport", "urgency": 3}}', "several objects"),
        ('{"topic": "trade"}', '"urgency" is a required property'),
        ('{"topic": "weather", "urgency": 1}', "topic: "),
        ('{"topic": "trade", "urgency": true}', "urgency: "),
        ('{"topic": "trade", "urgency": 99}', "urgency: 99"),
        ('{"topic": "trade", "urgency": 1, "mood": 1}', "mood"),
        ('{"topic": "trade", "urgency": 1, "author": {"name": 3}}', "author.name: "),
        ('{"topic": "trade", "urgency": 1, "places": ["Rome", 2]}', "places.1: "),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(said: str, why: str) -> None:
    with pytest.raises(Unparsable, match=why):
        parse(SPEC, said)


@pytest.mark.parametrize(("said", "value"), [(12, 10), (-2.5, 0), (15, 10), (7, 7)])
def test_a_number_near_its_range_is_moved_into_it(said: float, value: float) -> None:
    assert parse(SPEC, f'{{"topic": "sport", "urgency": {said}}}')["urgency"] == value


def test_a_typed_output_is_not_clamped() -> None:
    assert check(SPEC, GOOD) == GOOD
    with pytest.raises(Invalid, match="urgency: 12"):
        check(SPEC, {**GOOD, "urgency": 12})


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("trade", "is not of type"),
        (None, "is not of type"),
        ({}, "required"),
        ({**GOOD, "urgency": float("nan")}, "urgency: null"),
        ({**GOOD, "author": {"name": "\ud800"}}, "surrogates"),
        ({**GOOD, "author": {"name": "Ada", "age": 10**30}}, "64 bits"),
        ({**GOOD, 3: 4}, "no output of report"),
        ({**GOOD, "places": [object()]}, "no output of report"),
    ],
)
def test_what_is_no_output_is_refused(value: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        check(SPEC, value)
    assert caught.value.code == "output"


def test_an_output_is_a_copy_of_its_own() -> None:
    given = {**GOOD, "places": ["Rome"]}
    taken = check(SPEC, given)
    given["places"].append("Milan")  # type: ignore[attr-defined]
    assert taken["places"] == ["Rome"]
    assert bare(SPEC, taken) == taken
    assert in_words(SPEC, GOOD) == '{"topic":"trade","urgency":3.5}'


def test_models_get_the_schema_without_our_marks() -> None:
    schema = schema_of(SPEC)
    assert schema is not None
    assert schema["properties"]["urgency"] == {"type": "number", "minimum": 0, "maximum": 10}
    assert schema["required"] == SCHEMA["required"]
    assert SCHEMA["properties"]["urgency"]["x-clamp"] is True
    assert '"x-clamp"' not in describe(SPEC)


def _with(field: Any, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": field}, **more}


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (None, '"type" is "object"'),
        ({"properties": {"a": {}}}, '"type" is "object"'),
        ({"type": "array"}, '"type" is "object"'),
        ({"type": "object"}, "no properties"),
        ({"type": "object", "properties": {}}, "no properties"),
        (_with({"type": "strin"}), "properties.a.type"),
        (_with({"pattern": "("}), "regex"),
        (_with({"$ref": "#/$defs/gone"}), "gone"),
        (_with({"$ref": "https://example.org/schema"}), "lies outside"),
        (_with({"type": "array", "items": {"$ref": "file:///etc/passwd"}}), "lies outside"),
        (_with({"anyOf": [{"$ref": "other.json"}]}), "lies outside"),
        (_with({}, **{"$defs": {"b": {"$ref": "other.json"}}}), "lies outside"),
        (_with({"type": "number", "x-clamp": True}), "x-clamp is true, beside"),
        (_with({"minimum": 1, "maximum": 0, "x-clamp": True}), "x-clamp is true, beside"),
        (_with({"minimum": 0, "maximum": 1, "x-clamp": "yes"}), "x-clamp is true, beside"),
        (_with({"minimum": float("nan")}), "minimum"),
    ],
)
def test_a_schema_that_cannot_be_kept_is_refused(schema: Any, why: str) -> None:
    with pytest.raises(Invalid, match=r"^schema: ") as caught:
        check_schema(schema)
    assert why in caught.value.message
    assert caught.value.code == "settings"


def test_a_property_may_be_called_like_a_keyword() -> None:
    schema = _with({"$ref": "#/$defs/b"}, **{"$defs": {"b": {"type": "string"}}})
    schema["properties"] |= {"$ref": {"type": "string"}, "x-clamp": {"type": "boolean"}}
    assert check_schema(schema) == schema
    spec = TaskSpec(name="t", kind=TaskKind.JSON, description="", schema=schema, prompt="")
    assert parse(spec, '{"a": "b", "$ref": "c"}') == {"a": "b", "$ref": "c"}
    assert schema_of(spec) == schema
