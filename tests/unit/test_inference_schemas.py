"""Schemas as generators are told of them: an end to everything, an outline, strictness."""

from __future__ import annotations

from typing import Any

import jsonschema_rs
import pytest

from inhouse.inference.schemas import LONGEST_TEXT, MOST_ITEMS, bounded, is_strict, outline

TREE = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "children": {"type": "array", "items": {"$ref": "#"}},
    },
    "required": ["name"],
}
REPORT = {
    "type": "object",
    "properties": {
        "headline": {"type": "string", "maxLength": 80},
        "points": {"type": "array", "minItems": 2, "items": {"type": "string", "minLength": 3}},
        "mood": {"enum": ["good", "terrible"]},
        "rating": {"type": "integer", "minimum": 2},
        "by": {"$ref": "#/$defs/person"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    },
    "required": ["headline", "points", "mood", "rating", "by"],
    "$defs": {
        "person": {
            "type": "object",
            "properties": {"name": {"type": "string"}},
            "required": ["name"],
        }
    },
}


def test_everything_comes_to_an_end() -> None:
    found = bounded(REPORT)
    fields = found["properties"]
    assert fields["headline"]["maxLength"] == 80
    assert fields["points"]["maxItems"] == MOST_ITEMS
    assert fields["points"]["items"]["maxLength"] == LONGEST_TEXT
    assert fields["note"]["anyOf"][0]["maxLength"] == LONGEST_TEXT
    assert found["$defs"]["person"]["properties"]["name"]["maxLength"] == LONGEST_TEXT
    assert found["additionalProperties"] is False
    assert found["$defs"]["person"]["additionalProperties"] is False
    assert "additionalProperties" not in REPORT


@pytest.mark.parametrize(
    ("schema", "key", "limit"),
    [
        ({"type": "array", "maxItems": 1000}, "maxItems", MOST_ITEMS),
        ({"type": "array", "maxItems": 3}, "maxItems", 3),
        ({"type": "array", "minItems": 40}, "maxItems", 40),
        ({"type": "string", "maxLength": 10**6}, "maxLength", LONGEST_TEXT),
        ({"type": ["string", "null"]}, "maxLength", LONGEST_TEXT),
        ({"type": "string", "minLength": 900}, "maxLength", 900),
    ],
)
def test_what_a_schema_demands_is_kept(schema: dict[str, Any], key: str, limit: int) -> None:
    assert bounded(schema)[key] == limit


def test_patterns_and_parts_are_left_alone() -> None:
    date = {"type": "string", "format": "date"}
    parts = {"allOf": [{"properties": {"a": {}}}], "properties": {"b": {"type": "integer"}}}
    assert bounded(date) == date
    assert bounded(parts) == parts
    assert bounded({"enum": [{"type": "string"}]}) == {"enum": [{"type": "string"}]}
    assert bounded(True) is True


def test_an_outline_has_every_field_and_an_item() -> None:
    found = outline(REPORT)
    assert found == {
        "headline": "",
        "points": ["xxx", "xxx"],
        "mood": "terrible",
        "rating": 2,
        "by": {"name": ""},
        "note": None,
    }
    jsonschema_rs.validate(REPORT, found)
    jsonschema_rs.validate(bounded(REPORT), found)


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (TREE, {"name": "", "children": [{"name": "", "children": [None]}]}),
        ({"const": 7}, 7),
        ({"type": "boolean"}, 0),
        ({"type": "null"}, None),
        ({"$ref": "#/nowhere"}, None),
        ({"$ref": "#"}, None),
        ({"type": "object"}, {}),
        ({"oneOf": [{"type": "array"}, {"type": "string"}]}, [None]),
        (True, None),
    ],
)
def test_any_schema_has_an_outline(schema: Any, expected: Any) -> None:
    assert outline(schema) == expected


def test_strict_is_what_names_all_it_has() -> None:
    inner = {"type": "object", "properties": {}, "additionalProperties": False}
    outer = {
        "type": "object",
        "properties": {"a": inner, "b": {"type": "array", "items": inner}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }
    assert is_strict(outer)
    assert not is_strict({**outer, "required": ["a"]})
    assert not is_strict({**outer, "additionalProperties": True})
    assert not is_strict(REPORT)
    loose = {"type": "object", "properties": {"c": {}}, "additionalProperties": False}
    assert not is_strict({**outer, "properties": {"a": inner, "b": {"anyOf": [loose]}}})
