"""From OpenAI's chat format to a task's input, and back."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from inhouse.api.chat import content_of, read_chat, read_whole, task_input
from inhouse.api.problems import BadRequest, FieldError
from inhouse.api.unit import unit_of
from inhouse.client.models import ChatRequest
from inhouse.tasks.spec import TaskKind, TaskSpec


def request(*messages: dict[str, Any], **fields: Any) -> ChatRequest:
    return ChatRequest(model="task:sentiment", messages=list(messages), **fields)


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def chat(message: bytes, more: bytes = b"") -> bytes:
    return b'{"model":"up/a","messages":[{"role":"user","content":%b}]%b}' % (message, more)


def nested(levels: int) -> bytes:
    """A message's content that makes ``messages`` so deep."""
    return b"[" * (levels - 2) + b'"]}"' + b"]" * (levels - 2)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (chat(b'"a"') + b"x", "trailing"),
        (chat(b'"\xff"'), "not UTF-8"),
        (chat(b'"a"', b',"tools":["\xff"]'), "not UTF-8"),
        (chat(b'"\\ud800"'), "half of a surrogate pair"),
        (chat(b'"a"', b',"stop":"\\ud800"'), "half of a surrogate pair"),
        (chat(b'[{"type":"text","text":"\\udc00"}]'), "half of a surrogate pair"),
        (chat(b"1e999"), "number out of range"),
        (chat(b'"a","x":' + b"9" * 400 + b".5"), "number out of range"),
        (chat(b'"a"', b',"temperature":-1e999'), "number out of range"),
        (chat(b'"a"', b',"stream":true,"stream_options":{"x":1e999}'), "number out of range"),
        (chat(nested(129)), "nested too deeply"),
        (chat(b'"a","x":' + b'{"a":' * 500 + b"1" + b"}" * 500), "nested too deeply"),
    ],
)
def test_a_chat_that_could_not_be_read_again_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        read_chat(body)
    assert caught.value.code == "not-json"


@pytest.mark.parametrize(
    "body",
    [
        chat(b'"1e999 [[[["'),
        chat(nested(128)),
        chat(b"[]", b',"temperature":1e3'),
        chat(b'[{"type":"text","text":"a"}]'),
    ],
)
def test_a_chat_that_is_taken_is_passed_on_as_it_came(body: bytes) -> None:
    head, taken = read_chat(body)
    assert head.model == "up/a"
    sent = msgspec.json.decode(msgspec.json.encode(taken.passed_on()))
    assert sent["messages"] == msgspec.json.decode(body)["messages"] == taken.decoded()["messages"]


def test_a_user_that_is_empty_is_none() -> None:
    head, _ = read_chat(chat(b'"a"', b',"user":""'))
    assert unit_of({"headers": []}, head.user) is None
    assert read_whole(chat(b'"a"', b',"user":""')).user == ""


def test_the_text_of_the_user_message_is_the_input() -> None:
    assert task_input(request(user("good news"))) == "good news"


def test_text_parts_are_lines() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    assert task_input(request(user(parts))) == "one\ntwo"


@pytest.mark.parametrize(
    ("messages", "field", "said"),
    [
        ([user("a"), user("b")], "messages", "one user message, got 2"),
        ([{"role": "system", "content": "be kind"}, user("a")], "messages.0.role", "'system'"),
        ([{"role": "developer", "content": "x"}, user("a")], "messages.0.role", "'developer'"),
        ([user("a"), {"role": "assistant", "content": "b"}], "messages.1.role", "'assistant'"),
        ([{"content": "a"}], "messages.0.role", "None"),
        ([user("")], "messages.0.content", "expected text"),
        ([user(None)], "messages.0.content", "expected text"),
        ([user([])], "messages.0.content", "expected text"),
        ([user([{"type": "image_url", "image_url": {}}])], "messages.0.content", "type text"),
        ([user([{"type": "text", "text": 1}])], "messages.0.content", "type text"),
        ([user(["text"])], "messages.0.content", "type text"),
    ],
)
def test_more_than_one_text_is_refused(
    messages: list[dict[str, Any]], field: str, said: str
) -> None:
    with pytest.raises(FieldError, match=said) as caught:
        task_input(request(*messages))
    assert (caught.value.status, caught.value.code) == (422, "task-messages")
    assert caught.value.field == field
    assert caught.value.hint


@pytest.mark.parametrize("fields", [{"n": 2}, {"tools": [{}]}, {"functions": [{}]}])
def test_what_a_task_cannot_do_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(FieldError) as caught:
        task_input(request(user("a"), **fields))
    assert caught.value.field == next(iter(fields))


def test_what_changes_nothing_is_taken() -> None:
    assert task_input(request(user("a"), n=1, tools=[], functions=[])) == "a"


def test_an_output_is_json_and_a_text_is_itself() -> None:
    text = TaskSpec(name="t", kind=TaskKind.TEXT, description="", prompt="x")
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    json = TaskSpec(name="t", kind=TaskKind.JSON, description="", schema=schema, prompt="x")
    assert content_of(text, {"text": 'Well, "yes".'}) == 'Well, "yes".'
    assert content_of(json, {"text": "Well"}) == '{"text":"Well"}'
