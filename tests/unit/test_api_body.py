"""Reading bodies: bounds, types, and messages that name the field."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.api.body import LIMIT, Gone, Receive, convert, header, parse, read_body
from inhouse.api.problems import BadRequest, FieldError, TooLarge, UnsupportedType
from inhouse.client.batch import BatchRequest
from inhouse.client.models import ChatRequest, RunRequest

RUN = msgspec.json.Decoder(RunRequest)
ANY = msgspec.json.Decoder()


def scope(**headers: str) -> dict[str, Any]:
    names = {"content-type": "application/json"}
    names |= {name.replace("_", "-"): value for name, value in headers.items()}
    return {"headers": [(name.encode(), value.encode()) for name, value in names.items()]}


def once(body: bytes) -> Receive:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def read(parts: list[bytes], **headers: str) -> bytes:
    messages = [
        {"type": "http.request", "body": part, "more_body": position < len(parts) - 1}
        for position, part in enumerate(parts)
    ]
    messages.append({"type": "http.disconnect"})

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    return asyncio.run(read_body(scope(**headers), receive))


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=8))
def test_a_body_in_parts_is_put_together(parts: list[bytes]) -> None:
    assert read(parts) == b"".join(parts)


def test_a_body_of_exactly_the_limit_is_read() -> None:
    assert len(read([b"x" * (LIMIT - 1), b"x"])) == LIMIT


def test_one_byte_over_the_limit_is_refused() -> None:
    with pytest.raises(TooLarge, match="10 MiB"):
        read([b"x" * LIMIT, b"x"])


def test_the_limit_is_the_servers_own() -> None:
    assert asyncio.run(read_body(scope(), once(b"x" * 4), 4)) == b"xxxx"
    with pytest.raises(TooLarge, match="over 1 MiB") as caught:
        asyncio.run(read_body(scope(content_length=str(2**20 + 1)), once(b""), 2**20))
    assert "server.body_limit_mb" in caught.value.hint


def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    with pytest.raises(TooLarge):
        read([], content_length=str(LIMIT + 1))


def test_a_client_that_leaves_before_the_end_is_gone() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    with pytest.raises(Gone):
        asyncio.run(read_body(scope(), receive))


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", ""]
)
def test_only_json_is_read(kind: str) -> None:
    with pytest.raises(UnsupportedType, match="declared as"):
        read([b"{}"], content_type=kind)


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_parameters_and_case_of_the_type_do_not_matter(kind: str) -> None:
    assert read([b"{}"], content_type=kind) == b"{}"


def test_header_takes_the_first_of_a_name() -> None:
    twice = {"headers": [(b"a", b"1"), (b"a", b"2")]}
    assert header(twice, b"a") == "1"
    assert header(twice, b"b") is None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b'{"input": "a', "ends too early"),
        (b'{"input": "\\ud83d', "ends too early"),
        (b'{"input": "\\ud800 and more"}', "half of a surrogate pair"),
        (b'{"input": "\\udc00"}', "half of a surrogate pair"),
        (b'{"input": NaN}', "not JSON"),
        (b'{"input": Infinity}', "not JSON"),
        (b'{"input": "\\ud800"}', "surrogate"),
        (b'{"input": "\xff"}', "not UTF-8"),
        (b'{"input": "a"} x', "trailing"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_not_json_is_a_bad_request(body: bytes, said: str) -> None:
    with pytest.raises(BadRequest, match=said) as caught:
        parse(ANY if body.startswith(b"[") else RUN, body)
    assert caught.value.code == "not-json"


@pytest.mark.parametrize(
    ("body", "code", "field", "said"),
    [
        (b"{}", "missing-field", "input", "input is missing"),
        (b'{"input":"a","x":1}', "unknown-field", "x", "x is no field of this request"),
        (b'{"input":1}', "invalid-field", "input", "input: expected text, got a whole number"),
        (b'{"input":""}', "invalid-field", "input", "input: expected text of length >= 1"),
        (b'{"input":"a","unit":1.5}', "invalid-field", "unit", "expected text or null, got"),
        (b'{"input":"a","tags":{"k":1}}', "invalid-field", "tags.*", "expected text, got"),
        (b'{"input":"a","tags":[]}', "invalid-field", "tags", "expected an object or null, got"),
        (b'{"input":"a","tags":{"":"v"}}', "invalid-field", "a key of tags", "length >= 1"),
        (b'{"input":"a","b - at `$.c":1}', "unknown-field", "b - at `$.c", "is no field"),
        (b'{"input":"a","":1}', "unknown-field", '""', '"" is no field'),
        (b'{"input":"a","tags":{"k":1e999}}', "invalid-field", "tags.*", "number out of range"),
        (b"[1]", "invalid-field", "", "the body: expected an object, got a list"),
    ],
)
def test_a_field_that_does_not_fit_is_named(body: bytes, code: str, field: str, said: str) -> None:
    with pytest.raises(FieldError) as caught:
        parse(RUN, body)
    assert (caught.value.code, caught.value.field) == (code, field)
    assert said in caught.value.message
    assert "`" not in caught.value.message.replace(field, "")


def test_a_name_without_end_is_not_told_back() -> None:
    with pytest.raises(FieldError) as caught:
        parse(RUN, b'{"input":"a","%s":1}' % (b"k" * 1_000_000))
    assert caught.value.field == "k" * 64 + "..."
    assert len(caught.value.message) < 200


def test_the_position_in_a_list_is_told() -> None:
    batch = msgspec.json.Decoder(BatchRequest)
    with pytest.raises(FieldError) as caught:
        parse(batch, b'{"inputs":[{"input":"a"},{"input":"b","unit":""}]}')
    assert caught.value.field == "inputs[1].unit"


def test_of_a_key_that_is_there_twice_the_last_one_counts() -> None:
    assert parse(RUN, b'{"input":"a","input":"b"}').input == "b"


def test_convert_names_the_field_too() -> None:
    with pytest.raises(FieldError, match=r"messages: expected a list.*"):
        convert({"model": "task:x", "messages": "hello"}, ChatRequest)


@given(st.text(max_size=40))
def test_every_text_that_is_unicode_arrives_as_it_was(text: str) -> None:
    body = msgspec.json.encode({"input": "x" + text})
    assert parse(RUN, body).input == "x" + text
