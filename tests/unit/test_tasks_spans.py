"""Spans: where a model's quotes stand in the text, and what is no span."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import Invalid
from inhouse.tasks.outputs import Unparsable, bare, check, describe, in_words, parse
from inhouse.tasks.outputs import response_schema as schema_of
from inhouse.tasks.spans import Quote, locate
from inhouse.tasks.spec import TaskKind, TaskSpec

SPEC = TaskSpec(
    name="entities",
    kind=TaskKind.SPANS,
    description="",
    labels=("PERSON", "ORG", "PLACE"),
    prompt="{{ input }}",
)
TEXT = "Ada Lovelace met Charles Babbage in London. Ada liked London’s “Royal Society”."
ADA = {"start": 0, "end": 12, "label": "PERSON", "text": "Ada Lovelace"}
LONDON = {"start": 36, "end": 42, "label": "PLACE", "text": "London"}


def places(said: str, text: str = TEXT) -> list[tuple[str, str, int]]:
    found = parse(SPEC, said, text)
    assert check(SPEC, found, text) == found
    return [(span["text"], span["label"], span["start"]) for span in found["spans"]]


@pytest.mark.parametrize(
    "said",
    [
        '{"spans": [{"text": "Ada Lovelace", "label": "PERSON"}, {"text": "London", "label":'
        ' "PLACE"}]}',
        '[{"text": "Ada Lovelace", "label": "PERSON"}, {"text": "London", "label": "PLACE"}]',
        '{"entities": [{"entity": "Ada Lovelace", "type": "person"}, {"quote": " London ",'
        ' "label": "Place"}]}',
        '{"PERSON": ["Ada Lovelace"], "PLACE": ["London"], "ORG": []}',
        'Here they are:\n```json\n{"PERSON": ["Ada Lovelace"], "place": ["London"]}\n```\nDone.',
        'The answer {"spans": [{"text": "Ada Lovelace", "label": "PERSON"}, {"text": "LONDON",'
        ' "label": "PLACE"}]} holds two.',
        '{"spans": [{"text": "London", "label": "PLACE"}, {"text": "Ada\\n Lovelace", "label":'
        ' "PERSON"}]}',
    ],
)
def test_quotes_are_found_in_the_text(said: str) -> None:
    assert parse(SPEC, said, TEXT) == {"spans": [ADA, LONDON]}


def test_nothing_is_an_answer_when_it_is_said() -> None:
    assert places('{"spans": []}') == places("[]") == places('{"PERSON": []}') == []


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("There are no entities.", "no list of spans"),
        ("{}", "no list of spans"),
        ('{"answer": "Ada"}', "no list of spans"),
        ('{"spans": [{"text": "Ada Lovelace", "label": "PERSON"}', "no list of spans"),
        ('{"spans": [{"text": "Ada Lovelace", "label": "PERSON"},]}', "no list of spans"),
        ('{"spans": ["Ada Lovelace"]}', "text and label"),
        ('{"spans": [{"text": "", "label": "PERSON"}]}', "no text"),
        ('{"spans": [{"label": "PERSON"}]}', "no text"),
        ('{"spans": [{"text": "Ada Lovelace"}]}', "None is none of the labels"),
        ('{"spans": [{"text": "Ada Lovelace", "label": "ANIMAL"}]}', "'ANIMAL' is none"),
        ('{"spans": [{"text": "Grace Hopper", "label": "PERSON"}]}', "'Grace Hopper' is not in"),
        ('First {"spans": []} and then {"PERSON": ["Ada Lovelace"]}', "several lists"),
        (
            '{"PERSON": ["Babbage"], "ORG": ["Babbage"]}',
            "'Babbage' is said to be ORG and another",
        ),
    ],
)
def test_what_is_no_list_of_quotes_is_refused(said: str, why: str) -> None:
    with pytest.raises(Unparsable, match=why):
        parse(SPEC, said, TEXT)


@pytest.mark.parametrize(
    ("text", "quotes", "found"),
    [
        ("Paris is in Paris", ["Paris", "Paris"], [0, 12]),
        ("Paris is in Paris", ["Paris", "Paris", "Paris"], [0, 12]),
        ("Paris is in Paris", ["is", "Paris"], [6, 12]),
        ("Also Al came", ["Al"], [5]),
        ("Malta, Al", ["al"], [7]),
        ("東京都と京都", ["京都"], [1]),
        ("New York Times of New York", ["New York", "New York Times"], [0, 18]),
        ("the New York Times", ["New York Times", "New York"], [4]),
        ("Straße, STRASSE", ["Straße"], [0]),
        ("It's  “here”", ["it’s", '"HERE"'], [0, 6]),
    ],
)
def test_every_place_is_taken_once_the_longest_first(
    text: str, quotes: list[str], found: list[int]
) -> None:
    spans = locate([Quote(quote, "ORG") for quote in quotes], text)
    assert [span["start"] for span in spans] == found
    assert all(text[span["start"] : span["end"]] == span["text"] for span in spans)


def test_a_typed_output_takes_its_one_form() -> None:
    given = [
        {"start": 36, "end": 42, "label": "PLACE"},
        {"start": 0, "end": 12, "label": "PERSON", "text": "Ada Lovelace"},
    ]
    assert check(SPEC, given, TEXT) == {"spans": [ADA, LONDON]}
    assert check(SPEC, {"spans": given})["spans"] == [ADA, given[0]]
    quoted = [{"text": "London", "label": "PLACE"}, ADA]
    assert check(SPEC, quoted, TEXT) == {"spans": [ADA, LONDON]}
    assert check(SPEC, quoted) == {"spans": [ADA, quoted[0]]}
    assert bare(SPEC, {"spans": [ADA]}) == [ADA]
    assert in_words(SPEC, {"spans": [ADA, LONDON]}) == "Ada Lovelace (PERSON), London (PLACE)"
    assert in_words(SPEC, {"spans": []}) == "no spans"


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ("Ada", "are a list"),
        (3, "are a list"),
        ({"text": "Ada"}, "an output of entities"),
        (["Ada"], "start, end and label"),
        ([{"start": 0, "end": 3}], "start, end and label"),
        ([{**ADA, "score": 1}], "start, end and label"),
        ([{**ADA, "label": "ANIMAL"}], "'ANIMAL' is no label"),
        ([{**ADA, "label": []}], "no label"),
        ([{**ADA, "end": 0}], "from 0 to 0"),
        ([{**ADA, "start": -1}], "from -1 to 12"),
        ([{**ADA, "start": False}], "from False"),
        ([{**ADA, "end": 12.0}], "from 0 to 12.0"),
        ([{**ADA, "text": "Ada"}], "at 0 to 12 the text has 'Ada Lovelace'"),
        ([{"start": 0, "end": 999, "label": "ORG"}], "ends at 999, the text at 79"),
        ([ADA, {"start": 4, "end": 14, "label": "ORG"}], "overlap at 4"),
        ([ADA, ADA], "overlap at 0"),
        ([{"text": "Grace", "label": "PERSON"}], "'Grace' is not in the text"),
        ([{"text": " ", "label": "PERSON"}], "blank"),
    ],
)
def test_what_is_no_span_is_refused(value: Any, why: str) -> None:
    with pytest.raises(Invalid, match=why) as caught:
        check(SPEC, value, TEXT)
    assert caught.value.code == "output"


def test_offsets_count_code_points() -> None:
    text = "😀 Zoë of 東京"
    found = parse(SPEC, '{"PERSON": ["Zoë"], "PLACE": ["東京"]}', text)["spans"]
    assert [(span["start"], span["end"]) for span in found] == [(2, 5), (9, 11)]


def test_models_are_asked_for_quotes() -> None:
    schema = schema_of(SPEC)
    assert schema is not None
    item = schema["properties"]["spans"]["items"]
    assert item["required"] == ["text", "label"]
    assert item["properties"]["label"]["enum"] == ["PERSON", "ORG", "PLACE"]
    assert "PERSON, ORG, PLACE" in describe(SPEC)


@given(st.text("ab AB'’.", max_size=40), st.data())
def test_what_stands_in_the_text_is_found(text: str, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 6)), max_size=6))
    quotes = [Quote(text[at : at + size].strip(), "ORG") for at, size in cuts]
    quotes = [quote for quote in quotes if quote.text]
    spans = locate(quotes, text)
    assert check(SPEC, spans, text) == {"spans": spans}
    assert bool(spans) is bool(quotes)
    assert len(spans) <= len(quotes)


def test_case_blanks_and_quotation_marks_do_not_matter() -> None:
    text = "İt: “ADA \t\n  Lovelace’s”  of   analytical\nENGINES, ΟΔΟΣ"
    said = ['"ada lovelace\'s"', "Analytical  Engines", "οδος"]
    found = locate([Quote(words, "ORG") for words in said], text)
    marked = [span["text"] for span in found]
    assert marked == ["“ADA \t\n  Lovelace’s”", "analytical\nENGINES", "ΟΔΟΣ"]


def test_work_without_end_is_refused() -> None:
    text = "a b " * 30_000
    for quotes in (["a"] * 301, ["a b " * 20_000 + str(at) for at in range(100)]):
        with pytest.raises(Unparsable, match="more"):
            locate([Quote(words, "ORG") for words in quotes], text)


def test_words_that_repeat_take_no_more_time() -> None:
    (found,) = locate([Quote("a" * 50_000 + "B", "ORG")], "a" * 1_000_000 + "b")
    assert found["end"] == 1_000_001
