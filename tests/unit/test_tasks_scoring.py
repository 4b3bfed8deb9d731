"""Scores of spans, objects and texts, against values worked out by hand."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.tasks.fields import field_scores
from inhouse.tasks.rouge import common_length, rouge_l, words_of
from inhouse.tasks.scoring import figures, item_score
from inhouse.tasks.spec import TaskKind, TaskSpec

SPANS = TaskSpec(
    name="entities",
    kind=TaskKind.SPANS,
    description="",
    labels=("PERSON", "ORG", "PLACE"),
    prompt="",
)
TEXT = TaskSpec(name="summary", kind=TaskKind.TEXT, description="", prompt="{{ input }}")


def spans(*found: tuple[int, int, str]) -> dict[str, Any]:
    return {
        "spans": [{"start": s, "end": e, "label": n, "text": "x" * (e - s)} for s, e, n in found]
    }


ADA, ACME, ROME = (0, 3, "PERSON"), (5, 9, "ORG"), (12, 16, "PLACE")


@pytest.mark.parametrize(
    ("said", "there", "worth"),
    [
        ([], [], 1.0),
        ([ADA], [], 0.0),
        ([], [ADA], 0.0),
        ([ADA, ACME], [ADA, ACME], 1.0),
        ([ADA], [ADA, ACME, ROME], 0.5),
        ([(0, 3, "ORG")], [ADA], 0.0),
        ([(0, 4, "PERSON")], [ADA], 0.0),
    ],
)
def test_spans_are_worth_their_strict_f1(said: list[Any], there: list[Any], worth: float) -> None:
    assert item_score(SPANS, spans(*said), spans(*there)) == worth


def test_figures_of_spans_are_over_all_spans_and_by_type() -> None:
    outputs = [spans(ADA, ACME), spans(ADA), None, spans()]
    targets = [spans(ADA), spans(ADA, ROME), spans(ACME), spans()]
    assert figures(SPANS, outputs, targets) == {
        "precision": pytest.approx(2 / 3),
        "recall": pytest.approx(2 / 4),
        "f1": pytest.approx(4 / 7),
        "f1.PERSON": 1.0,
        "f1.ORG": 0.0,
        "f1.PLACE": 0.0,
    }
    assert figures(SPANS, [spans()], [spans()]) == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert figures(SPANS, [None], [spans(ADA)])["precision"] == 0.0


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "topic": {"enum": ["trade", "sport"]},
        "sure": {"type": "boolean"},
        "tone": {"type": "number", "minimum": -1, "maximum": 1},
        "price": {"type": "number"},
        "year": {"type": "integer"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "day": {"type": "string", "format": "date"},
        "gist": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "where": {"$ref": "#/$defs/place"},
    },
    "$defs": {
        "place": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome", "Oslo"]}, "zone": {"type": "integer"}},
        }
    },
}
JSON = TaskSpec(name="report", kind=TaskKind.JSON, description="", schema=SCHEMA, prompt="")
RIGHT: dict[str, Any] = {
    "topic": "trade",
    "sure": True,
    "tone": 0.5,
    "price": 200,
    "year": 2019,
    "tags": ["steel", "tariffs"],
    "day": "2026-01-01",
    "gist": "the cat sat on the mat",
    "where": {"city": "Rome", "zone": 1},
}


@pytest.mark.parametrize(
    ("name", "said", "worth"),
    [
        ("topic", "sport", 0.0),
        ("sure", False, 0.0),
        ("tone", 0.0, 0.75),
        ("tone", -1, 0.25),
        ("price", 250, 0.75),
        ("price", 900, 0.0),
        ("year", 2020, 0.0),
        ("year", 2019.0, 1.0),
        ("tags", ["tariffs", "steel"], 1.0),
        ("tags", ["steel"], 2 / 3),
        ("tags", [], 0.0),
        ("day", "2026-01-02", 0.0),
        ("gist", "The cat lay on the mat.", 10 / 12),
        ("gist", None, 0.0),
        ("where", {"city": "Rome", "zone": 2}, 0.5),
        ("where", {"city": "Rome"}, 0.5),
    ],
)
def test_a_field_is_worth_what_its_kind_says(name: str, said: Any, worth: float) -> None:
    found = field_scores(SCHEMA, {**RIGHT, name: said}, RIGHT)
    assert found.pop(name) == pytest.approx(worth)
    assert set(found.values()) == {1.0}
    score = item_score(JSON, {**RIGHT, name: said}, RIGHT)
    assert score == pytest.approx((8 + worth) / 9)


def test_a_field_that_both_leave_out_is_right() -> None:
    rest = {name: value for name, value in RIGHT.items() if name != "gist"}
    assert item_score(JSON, rest, rest) == item_score(JSON, rest, {**rest, "gist": None}) == 1.0
    assert field_scores(SCHEMA, rest, RIGHT)["gist"] == 0.0


def test_truth_and_one_are_not_the_same() -> None:
    schema = {"type": "object", "properties": {"a": {"enum": [True, 1]}}}
    assert field_scores(schema, {"a": True}, {"a": 1}) == {"a": 0.0}


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {
        "type": "object",
        "properties": {"next": {"$ref": "#"}, "loop": {"$ref": "#/$defs/l"}},
    }
    schema["$defs"] = {"l": {"$ref": "#/$defs/l"}}
    deep: dict[str, Any] = {"loop": 1}
    for _ in range(40):
        deep = {"next": deep, "loop": 1}
    assert field_scores(schema, deep, deep) == {"next": 1.0, "loop": 1.0}


def test_figures_of_objects_are_the_means_of_their_fields() -> None:
    outputs = [RIGHT, {**RIGHT, "tone": 0.0}, None]
    found = figures(JSON, outputs, [RIGHT] * 3)
    assert found["field.topic"] == pytest.approx(2 / 3)
    assert found["field.tone"] == pytest.approx(1.75 / 3)
    assert found["valid"] == pytest.approx(2 / 3)
    assert len(found) == len(SCHEMA["properties"]) + 1


@pytest.mark.parametrize(
    ("said", "meant", "worth"),
    [
        # Lin (2004), section 3.1: "police killed the gunman" against two candidates.
        ("police kill the gunman", "police killed the gunman", 3 / 4),
        ("the gunman kill police", "police killed the gunman", 2 / 4),
        ("Police killed the gunman!", "police killed the gunman", 1.0),
        ("a b c", "x y z", 0.0),
        ("", "a", 0.0),
        ("...", "...", 1.0),
        ("...", "!", 0.0),
        ("東京都", "京都", 4 / 5),
    ],
)
def test_rouge_l_is_the_f1_of_the_longest_common_subsequence(
    said: str, meant: str, worth: float
) -> None:
    assert rouge_l(said, meant) == pytest.approx(worth)
    assert item_score(TEXT, {"text": said}, {"text": meant}) == pytest.approx(worth)


def test_figures_of_texts() -> None:
    outputs = [{"text": "police kill the gunman"}, None]
    found = figures(TEXT, outputs, [{"text": "police killed the gunman"}] * 2)
    assert found == {"rouge_l": pytest.approx(3 / 8)}
    assert words_of("Don't stop-it, Ĳ!") == ["don", "t", "stop", "it", "ĳ"]


words = st.lists(st.sampled_from("abc"), max_size=12)


@given(words, words)
def test_the_common_length_is_that_of_the_plain_recursion(a: list[str], b: list[str]) -> None:
    @cache
    def longest(i: int, j: int) -> int:
        if i == len(a) or j == len(b):
            return 0
        if a[i] == b[j]:
            return 1 + longest(i + 1, j + 1)
        return max(longest(i + 1, j), longest(i, j + 1))

    assert common_length(a, b) == longest(0, 0)
