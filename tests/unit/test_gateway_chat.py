"""Free chats: what passes, what comes back, what is kept."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Invalid
from inhouse.core.hashing import digest_of
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.gateway.body import ChatBody
from inhouse.gateway.chats import Chats
from inhouse.gateway.entry import ChatCall, ChatOutcome
from inhouse.inference.base import Hosting, Message, Question, Reply, Usage
from inhouse.inference.upstream_chat import LazyBody
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.search import search
from inhouse.settings import Settings
from inhouse.tasks.catalog import load_catalog
from inhouse.testing.gateway import wire_gateway

HELLO = [{"role": "user", "content": "Hello"}]


class ChatBackend:
    """One general model that gives one reply, or raises, or hangs."""

    hosting = Hosting.EXTERNAL
    reference = "up/org/model"

    def __init__(self, reply: Reply | Exception | None) -> None:
        self.reply = reply
        self.questions: list[Question] = []

    async def answer(self, question: Question) -> Reply:
        self.questions.append(question)
        if self.reply is None:
            await asyncio.Event().wait()
        if isinstance(self.reply, Exception):
            raise self.reply
        assert self.reply is not None
        return self.reply

    async def close(self) -> None:
        return None


class World:
    def __init__(self, database: Database, backend: ChatBackend) -> None:
        self.database = database
        self.recorder = Recorder(database, clock=SystemClock())
        self.recorder.start()
        catalog = load_catalog(Settings())
        gateway = wire_gateway(
            database, catalog=catalog, resolve=lambda _: backend, recorder=self.recorder
        )
        self.gateway = gateway
        self.chats = Chats(gateway, timeout_s=30.0)

    def say(self, body: dict[str, Any], reference: str = "up/org/model") -> ChatOutcome:
        return asyncio.run(self.chats.answer(self.call(body, reference)))

    def call(self, body: dict[str, Any], reference: str = "up/org/model") -> ChatCall:
        given = ChatBody.of(json.dumps(body).encode())
        return ChatCall(interaction_id=new_id(), reference=reference, body=given)

    def streamed(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """The chunks of a streamed answer."""

        async def read() -> bytes:
            stream = await self.chats.stream(self.call(body))
            return b"".join([piece async for piece in stream.pieces()])

        events = asyncio.run(read()).split(b"\n\n")
        assert events[-2:] == [b"data: [DONE]", b""]
        return [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]

    def recorded(self) -> InteractionRecord:
        self.recorder.flush()
        with self.database.read() as unit:
            (row,) = search(unit)
        return row


@pytest.fixture
def backend() -> ChatBackend:
    usage = Usage(input_tokens=5, output_tokens=2)
    body = {
        "id": "x",
        "model": "org/model",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}}],
        "system_fingerprint": "f",
    }
    raw = json.dumps(body, indent=1).encode()
    return ChatBackend(Reply(content="Hi", usage=usage, body=body, raw=raw))


@pytest.fixture
def chats(sqlite_database: Database, backend: ChatBackend) -> Iterator[World]:
    made = World(sqlite_database, backend)
    yield made
    made.recorder.stop()


def test_fields_pass_through_both_ways(chats: World, backend: ChatBackend) -> None:
    body = {"model": "x", "messages": HELLO, "temperature": 0.3, "stream": True, "seed": 7}
    outcome = chats.say(body)
    (question,) = backend.questions
    assert question.task is None
    assert question.messages == (Message("user", "Hello"),)
    assert question.options == {"temperature": 0.3, "seed": 7}
    assert isinstance(backend.reply, Reply)
    assert outcome.body == backend.reply.raw
    assert (outcome.model_version, outcome.arm) == ("up/org/model", "pinned")


def test_a_chat_is_recorded_without_a_task(chats: World) -> None:
    outcome = chats.say({"messages": HELLO})
    row = chats.recorded()
    assert (row.id, row.task, row.status) == (outcome.interaction_id, None, "answered")
    assert (row.input, row.output, row.raw) == (HELLO, {"text": "Hi"}, None)
    assert (row.reference, row.hosting, row.input_tokens) == ("up/org/model", "external", 5)
    assert (row.route_revision, row.weight_bp) == (None, None)


def test_messages_with_more_than_text_pass_whole(chats: World, backend: ChatBackend) -> None:
    tool = {"role": "tool", "tool_call_id": "c1", "content": "42"}
    chats.say({"messages": [*HELLO, tool]})
    (question,) = backend.questions
    assert question.messages == ()
    assert question.options["messages"] == [*HELLO, tool]


def test_pictures_are_recorded_by_hash(chats: World, backend: ChatBackend) -> None:
    held = {"url": "data:image/png;base64,AAAA"}
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": held},
        {"type": "image_url", "image_url": {"url": "https://example.org/cat.png"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
    ]
    messages = [{"role": "user", "content": parts}]
    chats.say({"messages": messages})
    assert backend.questions[0].messages[0].content == parts
    kept = chats.recorded().input[0]["content"]
    assert kept[0] == parts[0]
    assert kept[1] == {"type": "image_url", "sha256": digest_of(held)}
    assert kept[2] == parts[2]
    assert set(kept[3]) == {"type", "sha256"}


@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("image_url", "data:image/png;base64,AAAA"),
        ("image_url", {"url": "DATA:image/png;base64,AAAA", "detail": "low"}),
        ("video_url", {"url": "data:video/mp4;base64,AAAA"}),
        ("source", [{"of": "data:image/png;base64,AAAA"}]),
        ("file", {"file_data": "data:application/pdf;base64,AAAA", "filename": "a.pdf"}),
        ("file", {"file_data": "AAAA"}),
    ],
)
def test_bytes_of_any_form_are_recorded_by_hash(chats: World, name: str, held: Any) -> None:
    part = {"type": "input_image", name: held}
    chats.say({"messages": [{"role": "user", "content": [part]}]})
    assert chats.recorded().input[0]["content"] == [
        {"type": "input_image", "sha256": digest_of(held)}
    ]


def test_a_text_about_data_is_recorded_as_it_is(chats: World) -> None:
    parts = [{"type": "text", "text": "data: none"}, {"type": "image_url", "image_url": "a"}, "b"]
    chats.say({"messages": [{"role": "user", "content": parts}]})
    assert chats.recorded().input[0]["content"] == parts


def test_an_answer_without_token_counts_is_estimated(chats: World, backend: ChatBackend) -> None:
    backend.reply = Reply(content="Fine, thanks.", raw=b"{}")
    chats.say({"messages": [{"role": "user", "content": "How are you?"}]})
    row = chats.recorded()
    assert (row.input_tokens, row.output_tokens) == (4, 5)


def test_tool_calls_of_any_depth_do_not_spoil_the_record(
    chats: World, backend: ChatBackend
) -> None:
    for called in (b"[" * 200 + b"]" * 200, b"1e999"):
        raw = b'{"choices":[{"message":{"content":"Hi","tool_calls":[%b]}}]}' % called
        backend.reply = Reply(content="Hi", body=LazyBody(raw), raw=raw)
        chats.say({"messages": HELLO})
    chats.recorder.flush()
    with chats.database.read() as unit:
        assert [row.output for row in search(unit)] == [{"text": "Hi"}] * 2


def test_a_backend_without_a_body_gets_a_chat_completion(
    chats: World, backend: ChatBackend
) -> None:
    backend.reply = Reply(content="Hi", usage=Usage(input_tokens=5, output_tokens=2))
    backend.reference = "embedded/small"
    body = json.loads(chats.say({"messages": HELLO}, "embedded/small").body)
    assert body["object"] == "chat.completion"
    assert body["model"] == "embedded/small"
    message = {"role": "assistant", "content": "Hi", "refusal": None}
    assert body["choices"][0]["message"] == message
    assert body["usage"]["total_tokens"] == 7


@pytest.mark.parametrize("counts", [False, True])
def test_a_backends_own_body_says_how_it_ended(
    chats: World, backend: ChatBackend, counts: bool
) -> None:
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    choice = {"index": 0, "message": {"role": "assistant", "content": "Hi"}}
    own = {"id": "x", "choices": [{**choice, "finish_reason": "length"}], "usage": usage}
    backend.reply = Reply(content="Hi", usage=Usage(input_tokens=5, output_tokens=2), body=own)
    assert json.loads(chats.say({"messages": HELLO}).body) == own
    chunks = chats.streamed({"messages": HELLO, "stream_options": {"include_usage": counts}})
    assert chunks[0]["choices"][0]["delta"]["content"] == "Hi"
    assert chunks[1]["choices"][0]["finish_reason"] == "length"
    assert [chunk["usage"] for chunk in chunks[2:]] == [usage] * counts


@pytest.mark.parametrize(
    "body", [{}, {"messages": []}, {"messages": "Hello"}, {"messages": ["Hello"]}]
)
def test_no_messages_no_chat(chats: World, backend: ChatBackend, body: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        chats.say(body)
    assert caught.value.code == "messages"
    assert backend.questions == []


@pytest.mark.parametrize("reference", ["mood@1", "nonsense"])
def test_only_general_models_chat(chats: World, reference: str) -> None:
    with pytest.raises(Invalid) as caught:
        chats.say({"messages": HELLO}, reference)
    assert caught.value.code == "reference"


def test_an_upstreams_error_is_the_callers(chats: World, backend: ChatBackend) -> None:
    backend.reply = BackendError("no credit", code="upstream-status", upstream_status=402)
    with pytest.raises(BackendError) as caught:
        chats.say({"messages": HELLO})
    assert caught.value is backend.reply
    row = chats.recorded()
    assert (row.status, row.error_code) == ("failed", "upstream-status")


def test_a_chat_has_a_deadline(chats: World, backend: ChatBackend) -> None:
    backend.reply = None
    chats.chats = Chats(chats.gateway, timeout_s=0.2)
    with pytest.raises(BackendError) as caught:
        chats.say({"messages": HELLO})
    assert caught.value.code == "timeout"
    assert chats.recorded().error_code == "timeout"
