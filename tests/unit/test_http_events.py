"""Server-sent events of a chat without a socket: cut anywhere, read, passed on byte for byte."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.inference.base import Usage
from inhouse.inference.upstream_chat import chunks_of
from inhouse.inference.upstream_events import KEPT_CHARACTERS, ChatEvents
from inhouse.inference.wire import Wire
from inhouse.settings import UpstreamSettings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.upstream_behaviours import completion
from inhouse.testing.upstream_streams import DONE, chunk, cut, event, told, usage_chunk

TOLD = told(["Grüße", ", \N{EARTH GLOBE EUROPE-AFRICA}\n\n", "[DONE]", ' "error": {}'])
TEXT = 'Grüße, \N{EARTH GLOBE EUROPE-AFRICA}\n\n[DONE] "error": {}'


SETTINGS = UpstreamSettings(base_url="http://127.0.0.1:1/v1")
WIRE = Wire("u/m", settings=SETTINGS, clock=FrozenClock())


def read(*pieces: bytes, hide_usage: bool = False) -> tuple[ChatEvents, list[bytes]]:
    events = ChatEvents(WIRE, hide_usage=hide_usage)
    passed = [events.feed(piece) for piece in pieces if not (events.done or events.error)]
    if not (events.done or events.error):
        passed.append(events.finish())
    return events, [piece for piece in passed if piece]


def code_of(events: ChatEvents) -> str | None:
    return events.error.code if events.error else None


def test_a_stream_passes_byte_for_byte_and_is_put_together() -> None:
    events, passed = read(TOLD.whole)
    assert b"".join(passed) == TOLD.whole
    assert (events.started, events.done, events.error) == (True, True, None)
    reply = events.reply("m")
    assert (reply.content, reply.model) == (TEXT, "scripted")
    assert reply.usage == Usage(input_tokens=7, output_tokens=4)
    assert reply.body is None


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@settings(max_examples=150, deadline=None, derandomize=True)
@given(places=st.lists(st.integers(1, len(TOLD.whole) * 2), max_size=12))
def test_fuzz_every_cut_gives_the_same(line_end: bytes, places: list[int]) -> None:
    shown = TOLD.opening + b": ping\n\n" + b"".join(TOLD.tokens) + TOLD.ending
    data = (shown + TOLD.usage + DONE).replace(b"\n", line_end)
    events, passed = read(*cut(data, places), hide_usage=True)
    assert b"".join(passed) == (shown + DONE).replace(b"\n", line_end)
    assert all(piece.endswith(line_end * 2) for piece in passed)
    assert events.reply("m").content == TEXT
    assert events.reply("m").usage.output_tokens == 4


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
def test_byte_for_byte_one_at_a_time(line_end: bytes) -> None:
    data = TOLD.whole.replace(b"\n", line_end)
    events, passed = read(*(bytes([byte]) for byte in data))
    assert b"".join(passed) == data
    assert len(passed) == 4 + 4
    assert events.reply("m").content == TEXT


def test_comments_names_and_parted_data_are_read_and_kept() -> None:
    said = json.dumps(chunk({"content": "hi"}), indent=1).replace("\n", "\ndata:").encode()
    data = b"\xef\xbb\xbf: hello\n\n\n:ping\nevent: message\nid: 7\nretry: 5\ndata:" + said
    data += b"\n\n" + TOLD.ending + b"event: end\ndata:[DONE]\n\n"
    events, passed = read(data)
    assert b"".join(passed) == data
    assert (events.reply("m").content, events.done, events.error) == ("hi", True, None)


@pytest.mark.parametrize(
    "delta",
    [
        {"content": "x"},
        {"content": [{"type": "text", "text": "x"}]},
        {"refusal": "no"},
        {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]},
        {"function_call": {"name": "f"}},
        {"reasoning_content": "hm"},
        {"reasoning": "hm"},
    ],
)
def test_a_first_token_is_whatever_a_caller_waits_for(delta) -> None:
    events = ChatEvents(WIRE, hide_usage=True)
    events.feed(TOLD.opening + b": ping\n\n" + event(chunk(None)) + event({"timings": {}}))
    events.feed(event(chunk({"content": None, "tool_calls": [], "refusal": None})))
    assert not events.started
    events.feed(event(chunk(delta)))
    assert events.started


def test_a_reason_of_the_end_is_a_token_too() -> None:
    events, _ = read(TOLD.opening + TOLD.ending)
    assert (events.started, events.done, events.error) == (True, False, None)
    assert events.reply("m").content == ""


def test_only_what_is_nothing_but_usage_is_hidden() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2}
    kept = [
        event(chunk(None, prompt_filter_results=[])),
        event(chunk({"content": "a"}, usage=None)),
        event(chunk({"content": '"choices": []'}, usage=usage)),
        event(chunk({}, finish_reason="stop", usage=usage)),
    ]
    data = b"".join([*kept, b": so many\n", event(usage_chunk()), b": bye\n\n", DONE])
    events, passed = read(data, hide_usage=True)
    assert b"".join(passed) == b"".join([*kept, b": bye\n\n", DONE])
    assert events.reply("m").usage == Usage(input_tokens=7, output_tokens=3)
    assert b"".join(read(data)[1]) == data


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (event({"error": {"message": "overloaded"}}), "upstream-stream-error"),
        (event({"error": "overloaded", "choices": []}), "upstream-stream-error"),
        (event({"object": "error", "message": "overloaded"}), "upstream-stream-error"),
        (b"event: error\n" + event({"message": "overloaded"}), "upstream-stream-error"),
        (b'error: {"message": "overloaded"}\n\n', "upstream-stream-error"),
        (b"data: overloaded\n\n", "upstream-garbage"),
        (b'data: {"choices": [{"delta"\n\n', "upstream-garbage"),
        (b'data: {"choices": 7}\n\n', "upstream-garbage"),
        (b'data: {"choices": [{"delta": {"content": "\xff"}}]}\n\n', "upstream-garbage"),
        (b"data: " + b"[" * 100_000 + b"\n\n", "upstream-garbage"),
        (b"data: []\n\n", "upstream-garbage"),
    ],
)
def test_what_breaks_a_stream_is_not_passed_on(bad: bytes, code: str) -> None:
    good = TOLD.opening + TOLD.tokens[0]
    events, passed = read(good + bad + TOLD.tokens[1] + DONE)
    assert b"".join(passed) == good
    assert (code_of(events), events.started, events.done) == (code, True, False)
    events, passed = read(TOLD.opening + bad)
    assert (code_of(events), events.started) == (code, False)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", "upstream-garbage"),
        (b"<html>\n\nwelcome</html>", "upstream-garbage"),
        (b": ping\n\n: ping\n\n", "upstream-garbage"),
        (b"data: what\n\n", "upstream-garbage"),
        (TOLD.opening, "upstream-closed"),
        (TOLD.opening + TOLD.tokens[0], "upstream-closed"),
        (TOLD.opening + TOLD.tokens[0] + TOLD.tokens[1][:-9], "upstream-closed"),
        (TOLD.opening + TOLD.ending + TOLD.usage[:-9], "upstream-closed"),
        (TOLD.opening + DONE, "upstream-garbage"),
        (TOLD.opening + TOLD.ending[:-2], None),
        (TOLD.opening + TOLD.tokens[0] + b"data: [DONE]", None),
        (TOLD.opening + TOLD.tokens[0] + b"data: [DONE]\r\n", None),
    ],
)
def test_a_stream_needs_its_end(data: bytes, code: str | None) -> None:
    events, passed = read(data)
    assert code_of(events) == code
    if code is None:
        assert b"".join(passed) == data.rstrip() + b"\n\n"


def test_an_error_without_its_blank_line_is_still_an_error() -> None:
    events, _ = read(TOLD.tokens[0] + event({"error": {"message": "m"}})[:-2])
    assert code_of(events) == "upstream-stream-error"


def test_tool_calls_are_put_together() -> None:
    calls = [
        {"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": '{"x":'}},
        {"index": 1, "id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        {"index": 0, "function": {"arguments": " 1}"}},
        {"index": "?"},
    ]
    events, _ = read(told([], tool_calls=calls, finish_reason="tool_calls").whole)
    body = events.reply("m").body
    assert body is not None
    assert body["choices"][0]["message"] == {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
            {"id": "b", "type": "function", "function": {"name": "g", "arguments": "{}"}},
        ],
    }


@pytest.mark.parametrize("number", [{}, {"index": None}, {"index": 0}])
def test_tool_calls_without_numbers_are_told_apart_by_their_ids(number: dict[str, Any]) -> None:
    calls = [
        {**number, "id": "a", "function": {"name": "f", "arguments": '{"x":'}},
        {**number, "function": {"arguments": " 1}"}},
        {**number, "id": "b", "function": {"name": "g", "arguments": "{"}},
        {**number, "id": "b", "function": {"name": "g", "arguments": "}"}},
    ]
    events, _ = read(told([], tool_calls=calls, finish_reason="tool_calls").whole)
    body = events.reply("m").body
    assert body is not None
    made = body["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in made] == [
        ("a", '{"x": 1}'),
        ("b", "{}"),
    ]


def test_a_choice_whose_number_is_null_is_the_first() -> None:
    piece = chunk({"content": "a"})
    piece["choices"][0]["index"] = None
    events, passed = read(event(piece) + TOLD.ending + DONE)
    assert events.error is None
    assert (events.reply("m").content, b"".join(passed)) == ("a", event(piece) + TOLD.ending + DONE)


def test_a_refusal_is_what_was_said_when_nothing_else_was() -> None:
    ending = event(chunk({}, finish_reason="stop"))
    events, _ = read(event(chunk({"refusal": "I can"})), event(chunk({"refusal": "not."})), ending)
    assert events.reply("m").content == "I cannot."


def test_other_choices_pass_and_the_first_is_remembered() -> None:
    two = {**chunk({"content": "b"}), "choices": [{"index": 1, "delta": {"content": "b"}}]}
    data = event(chunk({"content": "a"})) + event(two) + TOLD.ending + DONE
    events, passed = read(data)
    assert b"".join(passed) == data
    assert events.reply("m").content == "a"


def test_no_more_is_remembered_than_there_is_room_for() -> None:
    token = event(chunk({"content": "x" * 300_000}))
    events, passed = read(*[token] * 5, TOLD.ending + DONE)
    assert b"".join(passed) == token * 5 + TOLD.ending + DONE
    assert len(events.reply("m").content) == KEPT_CHARACTERS


def test_a_whole_completion_becomes_a_stream_that_says_the_same() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    body = completion("hello", model="m-1", tool_calls=[call], finish_reason="tool_calls")
    body["choices"].append({"message": {"content": "other"}, "logprobs": None})
    events, passed = read(chunks_of(body))
    reply = events.reply("m")
    assert (reply.content, reply.model, events.done) == ("hello", "m-1", True)
    assert reply.usage == Usage(input_tokens=7, output_tokens=3)
    assert reply.body is not None
    assert reply.body["choices"][0]["message"]["tool_calls"] == [call]
    told = [json.loads(one.removeprefix(b"data: ")) for one in passed[0].split(b"\n\n")[:-2]]
    assert [[choice["index"] for choice in one["choices"]] for one in told] == [
        [0],
        [0],
        [1],
        [1],
        [],
    ]
    assert told[0]["choices"][0]["delta"]["role"] == "assistant"
    assert [one["choices"][0]["finish_reason"] for one in told[:4]] == [
        None,
        "tool_calls",
        None,
        "stop",
    ]


def test_fuzz_damage_ends_in_an_error_or_a_stream() -> None:
    """Whatever happens to the bytes: no other exception, and no half event is passed on."""
    rng = random.Random(20_261_121)
    for _ in range(400):
        data = bytearray(TOLD.whole)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(data))
            data[at : at + rng.choice((0, 1, 1, 9))] = rng.choice(
                (b"", b"\n", b"\r", b"\xff", b"}")
            )
        events, passed = read(*cut(bytes(data), [rng.randrange(len(data)) for _ in range(5)]))
        assert events.done or events.started or events.error is not None
        assert all(piece.endswith((b"\n\n", b"\n\r\n")) for piece in passed)
        assert isinstance(events.reply("m").content, str)
