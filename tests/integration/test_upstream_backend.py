"""What an UpstreamBackend sends, and what it makes of whatever an upstream answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from inhouse.core.errors import BackendError
from inhouse.inference.base import Message, Question, Reply, Usage
from inhouse.inference.upstream import TYPED_MAX_TOKENS, UpstreamBackend
from inhouse.settings import UpstreamSettings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.contracts.backend import SENTIMENT
from inhouse.testing.upstream_behaviours import (
    answer,
    bad_chunks,
    chunked,
    close_before_head,
    close_in_head,
    completion,
    garbage,
    half_a_body,
    interim,
    json_body,
    raw,
    raw_body,
    reset,
    slowly,
    status,
)
from inhouse.testing.upstream_exchange import Behaviour, head
from inhouse.testing.upstream_server import ScriptedUpstream

KEY = "sk-secret-0123456789"
MESSAGES = (Message("system", "Be brief."), Message("user", "Grüße, «Welt» \U0001f30d"))
FREE = Question(messages=MESSAGES)
TYPED = Question(task=SENTIMENT, text="x", messages=MESSAGES)


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({}) as server:
        yield server


def ask(
    upstream: ScriptedUpstream, behaviour: Behaviour, question: Question = FREE, key: str = ""
) -> Reply:
    upstream.script = {"m": behaviour}
    settings = UpstreamSettings(base_url=upstream.base_url, api_key=SecretStr(key))

    async def main() -> Reply:
        backend = UpstreamBackend("u/m", settings=settings, model="m", clock=FrozenClock())
        try:
            return await asyncio.wait_for(backend.answer(question), 20)
        finally:
            await backend.close()

    return asyncio.run(main())


def refused(
    upstream: ScriptedUpstream, behaviour: Behaviour, question: Question = FREE, key: str = ""
) -> BackendError:
    with pytest.raises(BackendError) as caught:
        ask(upstream, behaviour, question, key)
    return caught.value


def test_a_free_chat_passes_its_options_through(upstream) -> None:
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    options = {
        "temperature": 0.7,
        "max_tokens": 9,
        "tools": tools,
        "stream": True,
        "model": "other",
    }
    reply = ask(
        upstream, answer("hello", model="m-2024"), Question(messages=MESSAGES, options=options)
    )
    assert (reply.content, reply.model) == ("hello", "m-2024")
    assert reply.usage == Usage(input_tokens=7, output_tokens=3)
    assert reply.body == completion("hello", model="m-2024")
    (request,) = upstream.requests
    assert (request.method, request.path) == ("POST", "/v1/chat/completions")
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert request.body == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Grüße, «Welt» \U0001f30d"},
        ],
        "temperature": 0.7,
        "max_tokens": 9,
        "tools": tools,
    }


def test_a_typed_question_is_asked_coldly_and_briefly(upstream) -> None:
    ask(upstream, answer("neutral"), TYPED)
    sent = upstream.requests[0].body
    assert (sent["temperature"], sent["max_tokens"]) == (0, TYPED_MAX_TOKENS)


def test_options_overrule_what_a_typed_question_adds(upstream) -> None:
    options = {"temperature": 1, "max_completion_tokens": 900}
    ask(upstream, answer("neutral"), Question(task=SENTIMENT, messages=MESSAGES, options=options))
    sent = upstream.requests[0].body
    assert (sent["temperature"], sent["max_completion_tokens"]) == (1, 900)
    assert "max_tokens" not in sent


def test_messages_with_more_fields_pass_as_an_option(upstream) -> None:
    messages = [{"role": "tool", "tool_call_id": "c1", "content": "42"}]
    ask(upstream, answer("ok"), Question(options={"messages": messages}))
    assert upstream.requests[0].messages == messages


def test_the_key_is_a_bearer_token(upstream) -> None:
    ask(upstream, answer("ok"), key=KEY)
    assert upstream.requests[0].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "behaviour",
    [chunked("yes"), interim("yes"), slowly("yes"), chunked("yes", size=1)],
    ids=["chunked", "interim", "slowly", "tiny-chunks"],
)
def test_however_it_is_framed_it_is_read(upstream, behaviour) -> None:
    assert ask(upstream, behaviour).content == "yes"


@pytest.mark.parametrize(
    ("code", "retryable", "fatal"),
    [
        (300, False, False),
        (307, False, False),
        (400, False, True),
        (401, False, False),
        (403, False, False),
        (404, False, False),
        (408, True, False),
        (413, False, True),
        (418, False, False),
        (422, False, True),
        (429, True, False),
        (500, False, False),
        (502, False, False),
        (503, True, False),
        (504, False, False),
    ],
)
def test_a_status_says_what_may_be_tried(upstream, code, retryable, fatal) -> None:
    error = refused(upstream, status(code, "no luck"))
    assert (error.code, error.upstream_status) == ("upstream-status", code)
    assert (error.retryable, error.fatal) == (retryable, fatal)
    assert error.message == f"u/m answered {code}: no luck"


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("7", 7.0),
        ("0.5", 0.5),
        ("0", 0.0),
        ("-1", None),
        ("soon", None),
        ("inf", None),
        ("9" * 400, None),
        ("١", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(upstream, said, seconds) -> None:
    if not said.isascii():
        said = said.encode().decode("latin-1")
    assert refused(upstream, status(503, retry_after=said)).retry_after == seconds
    assert refused(upstream, status(500, retry_after=said)).retry_after is None


def test_retry_after_as_a_date(upstream) -> None:
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    served = {"date": "Wed, 21 Oct 2015 07:27:30 GMT"}
    assert refused(upstream, status(429, retry_after=date, headers=served)).retry_after == 30.0
    assert refused(upstream, status(429, retry_after=date)).retry_after == 0.0  # past on our clock
    late = "Fri, 31 Dec 9999 23:59:59 GMT"
    assert (refused(upstream, status(429, retry_after=late)).retry_after or 0) > 1e9


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (reset(), "upstream-closed"),
        (close_before_head(), "upstream-closed"),
        (close_in_head(), "upstream-closed"),
        (half_a_body(), "upstream-closed"),
        (garbage(), "upstream-garbage"),
        (bad_chunks(), "upstream-garbage"),
        (raw(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n"), "upstream-garbage"),
        (raw(head(200, 200_000_000)), "upstream-closed"),
        (raw_body(b""), "upstream-garbage"),
        (raw_body(b"<html>welcome</html>"), "upstream-garbage"),
        (raw_body(b'{"choices":[{"message":{"content":"a'), "upstream-garbage"),
        (raw_body(b'{"choices":[{"message":{"content":"\xff"}}]}'), "upstream-garbage"),
        (raw_body(b"[" * 100_000), "upstream-garbage"),
        (json_body([]), "upstream-garbage"),
        (json_body({}), "upstream-garbage"),
        (json_body({"choices": []}), "upstream-garbage"),
        (json_body({"choices": None}), "upstream-garbage"),
        (json_body({"choices": [None]}), "upstream-garbage"),
        (json_body({"choices": [{"message": None}]}), "upstream-garbage"),
        (json_body({"choices": [{"text": "old"}]}), "upstream-garbage"),
        (json_body({"error": {"message": "overloaded"}}), "upstream-garbage"),
    ],
)
def test_no_chat_completion_is_an_error_of_the_backend(upstream, behaviour, code) -> None:
    error = refused(upstream, behaviour)
    assert error.code == code
    assert (error.retryable, error.fatal) == (False, False)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        ([{"type": "text", "text": "a"}, {"type": "image"}, {"type": "text", "text": "b"}], "ab"),
        (7, ""),
    ],
)
@pytest.mark.parametrize("question", [FREE, TYPED], ids=["free", "typed"])
def test_empty_or_parted_content_is_the_callers_to_judge(upstream, content, text, question) -> None:
    assert ask(upstream, answer(content), question).content == text


@pytest.mark.parametrize("usage", [None, {}, [], {"prompt_tokens": "7", "completion_tokens": -2}])
def test_usage_that_is_not_told_counts_nothing(upstream, usage) -> None:
    reply = ask(upstream, json_body({**completion("ok"), "usage": usage, "model": 7}))
    assert (reply.usage, reply.model) == (Usage(), "m")


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"finish_reason": "length"}, "upstream-cut"),
        ({"finish_reason": "content_filter"}, "upstream-refused"),
        ({"refusal": "I cannot say."}, "upstream-refused"),
    ],
)
def test_a_typed_answer_that_is_cut_or_refused_is_none(upstream, fields, code) -> None:
    error = refused(upstream, answer("0.1", **fields), TYPED)
    assert (error.code, error.retryable, error.fatal) == (code, False, False)
    assert ask(upstream, answer("0.1", **fields), FREE).content == "0.1"


@pytest.mark.parametrize("value", ["\ud800", object(), b"\xff".decode("latin-1") + "\udfff"])
def test_what_is_not_json_is_never_sent(upstream, value) -> None:
    error = refused(upstream, answer("ok"), Question(messages=MESSAGES, options={"user": value}))
    assert (error.code, error.fatal) == ("upstream-unsendable", True)
    assert upstream.requests == []


def test_an_error_carries_little_of_what_the_upstream_said_and_no_key(upstream) -> None:
    said = f"key {KEY} is\r\nwrong\x1b[31m " + "x" * 5000
    for behaviour in (status(401, said), raw_body(said.encode(), 502), json_body({"error": said})):
        error = refused(upstream, behaviour, key=KEY)
        assert KEY not in error.message
        assert "key *** is wrong[31m xxx" in error.message
        assert len(error.message) < 350
        assert error.message.isprintable()
    assert "api_key" in refused(upstream, status(401)).hint


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"message": "what it says"}},
        {"error": "what it says"},
        {"message": "what it says"},
        {"detail": "what it says"},
    ],
)
def test_errors_are_read_in_the_forms_that_servers_use(upstream, body: Any) -> None:
    assert refused(upstream, json_body(body, 500)).message == "u/m answered 500: what it says"


def test_a_body_that_says_nothing_is_shown_as_it_is(upstream) -> None:
    body = {"error": {"code": 5}}
    shown = refused(upstream, json_body(body, 500)).message
    assert shown == f"u/m answered 500: {json.dumps(body)}"
    assert refused(upstream, raw_body(b"", 500)).message == "u/m answered 500"


def test_the_openai_client_accepts_the_scripted_upstream() -> None:
    import openai

    with (
        ScriptedUpstream({"m": "hello", "busy": status(429, "later")}, api_key=KEY) as upstream,
        openai.OpenAI(base_url=upstream.base_url, api_key=KEY, max_retries=0) as client,
    ):
        assert [model.id for model in client.models.list()] == ["busy", "m"]
        message = {"role": "user", "content": "hi"}
        chat = client.chat.completions.create(model="m", messages=[message])
        assert chat.choices[0].message.content == "hello"
        for model, error in (("busy", openai.RateLimitError), ("none", openai.NotFoundError)):
            with pytest.raises(error):
                client.chat.completions.create(model=model, messages=[])
        with pytest.raises(openai.AuthenticationError):
            client.with_options(api_key="wrong").models.list()
