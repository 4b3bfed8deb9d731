"""What the embedded model's child is told of the form of an answer, and how much room it has."""

from __future__ import annotations

from typing import Any

import pytest

from inhouse.core.errors import BackendError
from inhouse.inference.base import Question
from inhouse.inference.engines.lm_form import form_of, room_of, said
from inhouse.inference.engines.lm_options import options_of
from inhouse.tasks.spec import TaskKind, TaskSpec

SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}


def spec(kind: TaskKind, **keys: Any) -> TaskSpec:
    return TaskSpec(name="t", kind=kind, description="", prompt="{{ input }}", **keys)


def test_spans_quote_the_input() -> None:
    task = spec(TaskKind.SPANS, labels=("X", "Y"))
    assert form_of(Question(task=task, text="a b")) == {"quotes": "a b", "labels": ("X", "Y")}


def test_json_keeps_to_a_schema_with_an_end() -> None:
    form = form_of(Question(task=spec(TaskKind.JSON, schema=SCHEMA), text="x"))
    assert form is not None
    assert form["schema"]["additionalProperties"] is False
    assert form["outline"] == {"a": ""}
    assert form["lenient"]


@pytest.mark.parametrize(("low", "high", "step"), [(0, 1, 0.01), (-1, 1, 0.01), (0, 100, 1.0)])
def test_a_score_is_a_number_whose_digits_end(low: float, high: float, step: float) -> None:
    form = form_of(Question(task=spec(TaskKind.SCORE, low=low, high=high), text="x"))
    assert form is not None
    assert form["schema"] == {
        "type": "number",
        "minimum": low,
        "maximum": high,
        "multipleOf": pytest.approx(step),
    }


@pytest.mark.parametrize("task", [None, spec(TaskKind.TEXT)])
def test_a_chat_has_the_form_that_it_asks_for(task: TaskSpec | None) -> None:
    def asked(response_format: Any) -> Any:
        return form_of(Question(task=task, options={"response_format": response_format}))

    assert form_of(Question(task=task)) is None
    assert asked(None) is None
    assert asked({"type": "text"}) is None
    assert asked({"type": "json_object"})["schema"] == {"type": "object"}
    named = asked({"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}})
    assert (named["outline"], named["lenient"]) == ({"a": ""}, False)


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "yaml"},
        {},
        "json",
        {"type": "json_schema"},
        {"type": "json_schema", "json_schema": 1},
    ],
)
def test_an_unknown_form_is_refused(response_format: Any) -> None:
    with pytest.raises(BackendError, match="response_format") as caught:
        form_of(Question(options={"response_format": response_format}))
    assert caught.value.code == "unsupported"
    assert caught.value.fatal


def test_room_follows_kind_and_deadline() -> None:
    rooms = [room_of(spec(kind, timeout_s=600.0)) for kind in (TaskKind.SCORE, TaskKind.JSON)]
    assert rooms[0] < rooms[1]
    assert room_of(spec(TaskKind.JSON, timeout_s=30.0)) == 240
    assert room_of(spec(TaskKind.TEXT, timeout_s=0.01)) == 1


def test_a_quote_said_again_under_another_label_is_left_out() -> None:
    form = {"quotes": "Ada Ada", "labels": ["X", "Y"]}
    ada = '{"text":"Ada","label":"X"}'
    content = f'{{"spans": [{ada}, {ada}, {{"text": "Ada", "label": "Y"}}]}}'
    assert said(form, content) == f'{{"spans":[{ada},{ada}]}}'
    assert said(None, "anything") == "anything"
    assert said({"schema": {}}, content) == content


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"temperature": "hot"}, "temperature: expected float"),
        ({"temperature": -1}, "temperature"),
        ({"max_tokens": "many"}, "max_tokens: expected int"),
        ({"max_completion_tokens": 1.5}, "max_completion_tokens"),
        ({"seed": "abc"}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 1]}, r"stop\[1\]"),
        ({"n": "2"}, "n: "),
    ],
)
def test_an_option_of_another_type_is_the_askers_fault(options: Any, field: str) -> None:
    with pytest.raises(BackendError, match=field) as caught:
        options_of("embedded/small", options)
    assert (caught.value.code, caught.value.fatal) == ("unsupported", True)


def test_the_child_is_told_what_it_knows_and_null_is_as_absent() -> None:
    known = {"temperature": 1, "top_p": 0.5, "stop": ["a"], "seed": 7}
    nothing = dict.fromkeys(("n", "max_tokens", "max_completion_tokens", "tools"))
    given = {**known, **nothing, "messages": [], "logit_bias": {"1": 2**70}}
    assert options_of("embedded/small", given) == known
