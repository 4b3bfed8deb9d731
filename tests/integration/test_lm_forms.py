"""What the embedded model says keeps to its form: real weights, one child for the module."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError
from inhouse.inference.base import Message, Question, Reply
from inhouse.inference.engines.lm import EmbeddedLM
from inhouse.settings import load_settings
from inhouse.store.store import ModelStore
from inhouse.tasks.catalog import builtin_names, load_catalog
from inhouse.tasks.outputs import check, parse
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskKind, TaskSpec

pytestmark = pytest.mark.models

NEWS = "Siemens said on Thursday it would cut 3,000 jobs in Berlin, said Eva Braun of IG Metall."
CITY = {
    "type": "object",
    "properties": {
        "city": {"type": "string"},
        "people": {"type": "integer", "minimum": 0},
        "tags": {"type": "array", "items": {"enum": ["old", "big", 'by the "sea"']}},
    },
    "required": ["city", "people", "tags"],
}
SHORT = 36
"""Tokens that even the largest answer in the box can be brought to its end with."""


@pytest.fixture(scope="module")
def lm(weights_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedLM]:
    model_dir = ModelStore(weights_store, SystemClock()).resolve("smollm2-135m", "current").path
    opened = EmbeddedLM(
        "embedded/smollm2-135m",
        model_dir=model_dir,
        calibration_dir=tmp_path_factory.mktemp("calibration"),
    )
    opened.start()
    yield opened
    asyncio.run(opened.close())


def ask(lm: EmbeddedLM, spec: TaskSpec, text: str, **options: Any) -> Reply:
    asked = (Message("user", render(spec, text)),)
    question = Question(task=spec, text=text, messages=asked, options=options)
    return asyncio.run(lm.answer(question))


def say(lm: EmbeddedLM, words: str, **options: Any) -> Reply:
    return asyncio.run(lm.answer(Question(messages=(Message("user", words),), options=options)))


def built_in(folder: Path, name: str) -> TaskSpec:
    (folder / "inhouse.toml").write_text(f'[tasks."{name}"]\nbuiltin = "{name}"\n')
    return load_catalog(load_settings(folder, environment={})).get(name)


def answered(lm: EmbeddedLM, spec: TaskSpec, **options: Any) -> dict[str, Any]:
    reply = ask(lm, spec, NEWS, **options)
    if reply.output is not None:
        return check(spec, reply.output, NEWS)
    return parse(spec, reply.content, NEWS)


@pytest.mark.parametrize("name", sorted({*builtin_names()} - {"bias", "sentiment"}))
def test_every_task_in_the_box_is_answered(lm: EmbeddedLM, tmp_path: Path, name: str) -> None:
    """With little room: what is said is brought to its end, and is valid all the same."""
    spec = built_in(tmp_path, name)
    assert answered(lm, spec, max_tokens=SHORT)


@pytest.mark.full
@pytest.mark.parametrize("name", builtin_names())
def test_every_task_in_the_box_is_answered_at_length(
    lm: EmbeddedLM, tmp_path: Path, name: str
) -> None:
    spec = built_in(tmp_path, name)
    assert answered(lm, spec)


def test_spans_are_quotes_of_the_text(lm: EmbeddedLM, tmp_path: Path) -> None:
    """Whatever stands in the text: quotation marks, line ends, backslashes, other scripts."""
    spec = built_in(tmp_path, "entities")
    text = 'On "Monday"\nZoë Müller left C:\\temp for 東京 \U0001f30d\t(again).'
    reply = ask(lm, spec, text, max_tokens=80, temperature=2.0, seed=3)
    spans = json.loads(reply.content)["spans"]
    assert spans
    for span in spans:
        assert span["text"] in text
        assert span["label"] in spec.labels
    parse(spec, reply.content, text)


def test_a_score_without_levels_is_a_number_of_its_range(lm: EmbeddedLM) -> None:
    spec = TaskSpec(
        name="rating",
        kind=TaskKind.SCORE,
        description="",
        low=10.0,
        high=90.0,
        prompt="Rate the text from 10 to 90. Answer with the number only.\n\n{{ input }}\nRating:",
    )
    reply = ask(lm, spec, NEWS)
    assert 10.0 <= float(reply.content) <= 90.0


def test_a_chat_keeps_to_its_schema(lm: EmbeddedLM) -> None:
    """Also at random, and in as little room as its end needs."""
    told = {"type": "json_schema", "json_schema": {"name": "city", "schema": CITY}}
    words = "Describe Paris as JSON: city, people, tags."
    reply = say(lm, words, response_format=told, max_tokens=SHORT)
    assert "Paris" in json.loads(reply.content)["city"]
    drawn = [
        say(lm, words, response_format=told, max_tokens=24, temperature=3.0, seed=seed)
        for seed in range(2)
    ]
    for one in (reply, *drawn):
        jsonschema_rs.validate(CITY, json.loads(one.content))
        assert one.body is not None
        assert one.body["choices"][0]["finish_reason"] == "stop"
    assert len({one.content for one in drawn}) > 1


def test_a_chat_may_ask_for_any_object(lm: EmbeddedLM) -> None:
    reply = say(lm, "Paris as JSON.", response_format={"type": "json_object"}, max_tokens=24)
    assert isinstance(json.loads(reply.content), dict)
    plain = say(lm, "Say hello.", response_format={"type": "text"}, max_tokens=4)
    assert not plain.content.startswith("{")


def test_what_no_grammar_expresses_is_refused(lm: EmbeddedLM) -> None:
    schema = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}
    told = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    with pytest.raises(BackendError, match="uniqueItems") as caught:
        say(lm, "Numbers.", response_format=told)
    assert caught.value.code == "unsupported"


def test_no_room_is_a_failure_of_a_task_and_the_length_of_a_chat(lm: EmbeddedLM) -> None:
    long = {"type": "array", "items": {"type": "integer"}, "minItems": 30}
    schema = {"type": "object", "properties": {"n": long}, "required": ["n"]}
    spec = TaskSpec(
        name="count", kind=TaskKind.JSON, description="", schema=schema, prompt="{{ input }}"
    )
    with pytest.raises(BackendError) as caught:
        ask(lm, spec, "Count.", max_tokens=8)
    assert caught.value.code == "engine-cut"
    told = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    reply = say(lm, "Count.", response_format=told, max_tokens=8)
    assert reply.body is not None
    assert reply.body["choices"][0]["finish_reason"] == "length"
    assert reply.usage.output_tokens == 8
