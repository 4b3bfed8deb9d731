"""What an UpstreamBackend sends for a stream, and what it passes on of the stream that comes."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import pytest

from inhouse.core.errors import BackendError
from inhouse.inference.base import Embeddings, Message, Question, Reply, Usage
from inhouse.inference.upstream import TYPED_MAX_TOKENS, UpstreamBackend
from inhouse.settings import UpstreamSettings
from inhouse.tasks.spec import TaskKind, TaskSpec
from inhouse.testing.contracts.backend import SENTIMENT, vectors_of
from inhouse.testing.upstream_behaviours import answer, completion, json_body, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange, head
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import (
    DONE,
    chunk,
    event,
    raw_stream,
    stream,
    stream_hang,
    told,
    usage_chunk,
)
from inhouse.testing.upstream_typed import embeddings, vector_of

T = TypeVar("T")
MESSAGES = (Message("user", "hello"),)
CHAT = Question(messages=MESSAGES)
SUMMARY = TaskSpec(
    name="summary", kind=TaskKind.TEXT, description="In short.", prompt="{{ input }}"
)
ASKED = {"stream_options": {"include_usage": True}}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream({}) as server:
        yield server


def run(
    upstream: ScriptedUpstream, work: Callable[[UpstreamBackend], Awaitable[T]], **fields: Any
) -> T:
    async def main() -> T:
        settings = UpstreamSettings(base_url=upstream.base_url, **fields)
        backend = UpstreamBackend("u/m", settings=settings, model="m")
        try:
            return await asyncio.wait_for(work(backend), 30)
        finally:
            await backend.close()

    done = asyncio.run(main())
    upstream.wait_until(lambda: upstream.open_connections == 0)
    return done


def listen(
    upstream: ScriptedUpstream, behaviour: Behaviour, question: Question = CHAT, **fields: Any
) -> tuple[bytes, Reply]:
    async def work(backend: UpstreamBackend) -> tuple[bytes, Reply]:
        opened = await backend.stream(question)
        return b"".join([piece async for piece in opened]), opened.reply()

    upstream.script = {"m": behaviour}
    return run(upstream, work, **fields)


def ask(upstream: ScriptedUpstream, behaviour: Behaviour, question: Question) -> Reply:
    upstream.script = {"m": behaviour}
    return run(upstream, lambda backend: backend.answer(question))


def asking(**options: Any) -> Question:
    return Question(messages=MESSAGES, options=options)


def test_a_stream_is_asked_for_with_its_token_counts(upstream) -> None:
    question = asking(temperature=0.7, stream=False, model="other")
    body, reply = listen(upstream, stream("one two"), question)
    parts = told(["one", " two"], model="m")
    assert body == b"".join((parts.opening, *parts.tokens, parts.ending, parts.done))
    assert (reply.content, reply.model) == ("one two", "m")
    assert reply.usage == Usage(input_tokens=7, output_tokens=2)
    (request,) = upstream.requests
    assert request.headers["accept"] == "text/event-stream"
    assert request.body == {
        "model": "m",
        "messages": [{"role": "user", "content": "hello"}],
        "temperature": 0.7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_who_asks_for_the_token_counts_gets_them(upstream) -> None:
    body, reply = listen(upstream, stream("one"), asking(**ASKED))
    assert body == told(["one"], model="m").whole
    assert reply.usage.output_tokens == 1


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        ({}, None),
        ({"stream_options": {"include_usage": False}}, {"include_usage": False}),
        (ASKED, {"include_usage": True}),
    ],
)
def test_token_counts_are_not_asked_for_where_the_settings_say_so(upstream, options, sent) -> None:
    _, reply = listen(upstream, stream("one"), asking(**options), stream_usage=False)
    assert reply.usage == (Usage(input_tokens=7, output_tokens=1) if options == ASKED else Usage())
    assert upstream.requests[0].body.get("stream_options") == sent


def test_other_options_of_the_stream_are_kept(upstream) -> None:
    options = {"stream_options": {"include_usage": False, "x": 1}}
    listen(upstream, stream("one"), asking(**options))
    assert upstream.requests[0].body["stream_options"] == {"include_usage": True, "x": 1}


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["lf", "crlf"])
@pytest.mark.parametrize("split_at", [(), range(1, 2000, 7), (1, 2, 3, 400, 401)])
@pytest.mark.parametrize("close", [False, True], ids=["chunks", "until-close"])
def test_everything_else_passes_byte_for_byte(upstream, line_end, split_at, close) -> None:
    shown = b": ping\n\nevent: message\nid: 1\n" + told(["a", "b"]).whole.replace(
        told([], output_tokens=2).usage, b""
    )
    counts = b"data: " + json.dumps(usage_chunk(), indent=1).replace("\n", "\ndata: ").encode()
    data = shown.removesuffix(DONE) + counts + b"\n\n" + DONE
    behaviour = raw_stream(data.replace(b"\n", line_end), split_at=split_at, close=close)
    body, reply = listen(upstream, behaviour)
    assert body == shown.replace(b"\n", line_end)
    assert (reply.content, reply.usage) == ("ab", Usage(input_tokens=7, output_tokens=3))


def test_the_stream_is_there_when_the_first_token_is(upstream) -> None:
    """Role, comments and empty chunks do not count; what came with the token is given first."""
    early = b": ping\n\n" + told([]).opening + event(chunk(None, usage=None))
    go_on = asyncio.Event()

    async def behave(exchange: Exchange) -> None:
        await exchange.send(head(200, None, {"content-type": "text/event-stream"}) + early)
        loop.call_soon_threadsafe(go_on.set)
        await asyncio.to_thread(opening.wait)
        await exchange.send(told(["a"]).tokens[0])
        await exchange.client_gone()
        exchange.close()

    async def work(backend: UpstreamBackend) -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        opened = asyncio.ensure_future(backend.stream(CHAT))
        await go_on.wait()
        assert not opened.done()
        opening.set()
        answer = await opened
        assert answer.reply().content == "a"
        assert await anext(aiter(answer)) == early + told(["a"]).tokens[0]
        await answer.close()

    opening = threading.Event()
    loop: asyncio.AbstractEventLoop = None  # type: ignore[assignment]
    upstream.script = {"m": behave}
    run(upstream, work)


def test_pieces_come_one_by_one_and_the_reply_grows(upstream) -> None:
    async def work(backend: UpstreamBackend) -> list[str]:
        opened = await backend.stream(CHAT)
        return [opened.reply().content async for _ in opened]

    upstream.script = {"m": stream("a b c d", pause_s=0.005)}
    told = run(upstream, work)
    assert len(told) > 2
    assert told == sorted(told, key=len)
    assert told[-1] == "a b c d"


def test_streams_share_a_connection_and_a_closed_one_is_given_up(upstream) -> None:
    async def work(backend: UpstreamBackend) -> None:
        for _ in range(4):
            opened = await backend.stream(CHAT)
            assert [piece async for piece in opened][-1].endswith(DONE)
            await opened.close()
        assert upstream.connections == 1
        upstream.script = {"m": stream_hang("a b c", after=1)}
        opened = await backend.stream(CHAT)
        await opened.close()
        await opened.close()
        await asyncio.to_thread(upstream.wait_until, lambda: upstream.open_connections == 0)

    upstream.script = {"m": "a b c"}
    run(upstream, work)


def test_an_end_that_comes_after_done_keeps_the_connection(upstream) -> None:
    heard = threading.Event()

    async def behave(exchange: Exchange) -> None:
        headers = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
        body = told(["a"]).whole
        await exchange.send(head(200, None, headers) + b"%x\r\n%b\r\n" % (len(body), body))
        await asyncio.to_thread(heard.wait)
        await exchange.send(b"0\r\n\r\n")

    async def work(backend: UpstreamBackend) -> None:
        for _ in range(3):
            heard.clear()
            async for piece in await backend.stream(CHAT):
                if piece.endswith(DONE):
                    heard.set()

    upstream.script = {"m": behave}
    run(upstream, work)
    assert upstream.connections == 1


def test_a_first_piece_may_be_the_whole_stream(upstream) -> None:
    whole = told(["a"]).whole
    body, _ = listen(upstream, raw_stream(whole), asking(**ASKED))
    assert body == whole


def test_tool_calls_are_tokens_and_are_in_the_reply(upstream) -> None:
    calls = [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}},
        {"index": 0, "function": {"arguments": "{}"}},
    ]
    behaviour = stream([], tool_calls=calls, finish_reason="tool_calls")
    _, reply = listen(upstream, behaviour)
    assert reply.body is not None
    (call,) = reply.body["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "f", "arguments": "{}"}


@pytest.mark.parametrize("question", [CHAT, asking(**ASKED)], ids=["plain", "usage"])
def test_a_whole_completion_is_made_a_stream(upstream, question) -> None:
    body, reply = listen(upstream, answer("one two", model="m-1"), question)
    assert (reply.content, reply.model) == ("one two", "m-1")
    assert reply.usage == Usage(input_tokens=7, output_tokens=3)
    *events, done, rest = body.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    chunks = [json.loads(one.removeprefix(b"data: ")) for one in events]
    assert [one["choices"] for one in chunks] == [
        [{"index": 0, "delta": {"role": "assistant", "content": "one two"}, "finish_reason": None}],
        [{"index": 0, "delta": {}, "finish_reason": "stop"}],
        *([[]] if question is not CHAT else []),
    ]
    assert {(one["object"], one["id"], one["model"]) for one in chunks} == {
        ("chat.completion.chunk", "chatcmpl-scripted", "m-1")
    }
    assert ("usage" in chunks[-1]) == (question is not CHAT)


def test_the_openai_client_reads_the_scripted_streams() -> None:
    import openai

    with (
        ScriptedUpstream({"m": "one two", "v": "x"}) as upstream,
        openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client,
    ):
        message = {"role": "user", "content": "hi"}
        chunks = list(
            client.chat.completions.create(model="m", messages=[message], stream=True, **ASKED)
        )
        assert "".join(one.choices[0].delta.content or "" for one in chunks if one.choices) == (
            "one two"
        )
        assert chunks[-1].usage.completion_tokens == 2
        found = client.embeddings.create(model="v", input=["a", "b"], encoding_format="float")
        assert [one.embedding for one in found.data] == [vector_of("a"), vector_of("b")]


def test_a_text_task_is_asked_like_a_free_chat(upstream) -> None:
    text = Question(task=SUMMARY, text="x", messages=MESSAGES)
    reply = ask(upstream, answer("cut off", finish_reason="length"), text)
    assert reply.content == "cut off"
    assert ask(upstream, answer(None, refusal="I cannot."), text).content == "I cannot."
    assert ask(upstream, answer("", finish_reason="content_filter"), text).content == ""
    body, _ = listen(upstream, stream("cut", finish_reason="length"), text)
    assert b'"length"' in body
    for request in upstream.requests:
        assert not {"temperature", "max_tokens"} & request.body.keys()


def test_a_typed_question_is_streamed_coldly_and_briefly(upstream) -> None:
    listen(upstream, stream("neutral"), Question(task=SENTIMENT, text="x", messages=MESSAGES))
    sent = upstream.requests[0].body
    assert (sent["temperature"], sent["max_tokens"]) == (0, TYPED_MAX_TOKENS)


def test_the_answer_is_there_as_it_was_sent(upstream) -> None:
    sent = {**completion("hi"), "x": [1, 2]}
    reply = ask(upstream, json_body(sent), CHAT)
    assert reply.raw == json.dumps(sent).encode()
    assert reply.body == sent
    assert len(reply.body) == len(sent)


def embed(
    upstream: ScriptedUpstream, behaviour: Behaviour, inputs: list[Any], **options: Any
) -> Embeddings:
    upstream.script = {"m": behaviour}
    return run(upstream, lambda backend: backend.embed(inputs, options))


def test_embeddings_pass_through(upstream) -> None:
    found = embed(upstream, embeddings(size=3), ["a", [1, 2]], dimensions=3, model="other")
    assert found.vectors == ()
    assert vectors_of(found) == [vector_of("a", 3), vector_of([1, 2], 3)]
    assert (found.model, found.usage) == ("m", Usage(input_tokens=5))
    (request,) = upstream.requests
    assert (request.path, request.headers["accept"]) == ("/v1/embeddings", "application/json")
    assert request.body == {"model": "m", "input": ["a", [1, 2]], "dimensions": 3}


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (status(404), "upstream-status"),
        (embeddings([[0.5]]), "upstream-garbage"),
        (json_body({}), "upstream-garbage"),
        (json_body({"data": 7}), "upstream-garbage"),
        (json_body([]), "upstream-garbage"),
    ],
)
def test_no_embeddings_are_an_error_of_the_backend(upstream, behaviour, code) -> None:
    with pytest.raises(BackendError) as caught:
        embed(upstream, behaviour, ["a", "b"])
    assert caught.value.code == code


def test_decisions_are_asked_of_those_who_speak_them(upstream) -> None:
    asked = {"type": "predicate", "instructions": "It is good news."}
    reply = {"answers": [{"type": "predicate", "probability": 0.75}], "model": "d-1"}
    upstream.script = {"m": json_body(reply)}
    found = run(upstream, lambda backend: backend.decide("x", [asked]), speaks="decisions")
    assert (found.answers[0].probabilities, found.model) == ((0.75,), "d-1")
    assert upstream.requests[0].path == "/v1/decisions"
