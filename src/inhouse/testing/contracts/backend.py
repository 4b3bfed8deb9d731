"""What every Backend promises, as pytest classes: all of them, those that stream, that embed.

class TestMyEngine(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MyEngine("embedded/mine", ...)
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import pytest

from inhouse.core.errors import BackendError
from inhouse.inference.base import (
    Backend,
    Embedding,
    Embeddings,
    Hosting,
    Message,
    Question,
    Reply,
    ReplyStream,
    Streaming,
)
from inhouse.tasks.spec import TaskKind, TaskSpec

CONCURRENT = 16
T = TypeVar("T")

SENTIMENT = TaskSpec(
    name="sentiment",
    kind=TaskKind.CHOICE,
    description="Mood of a sentence.",
    labels=("negative", "neutral", "positive"),
    prompt="Answer with negative, neutral or positive.\n\n{{ input }}",
)


class BackendContract(ABC):
    """Subclass it and give a ``backend``. It is made anew for each test and closed by it.

    ``question`` is a typed question that the backend can answer; override it for a backend that
    serves one task only. ``deadline_s`` bounds each test.
    """

    deadline_s = 60.0

    @pytest.fixture
    @abstractmethod
    def backend(self) -> Backend:
        """The implementation under test, ready to answer."""

    @pytest.fixture
    def question(self) -> Question:
        text = "Profit rose by a fifth, well above what analysts had expected."
        prompt = f"Answer with negative, neutral or positive.\n\n{text}"
        return Question(task=SENTIMENT, text=text, messages=(Message("user", prompt),))

    def test_answers_a_typed_question(self, backend: Backend, question: Question) -> None:
        reply = self.run(backend, lambda: backend.answer(question))
        _check(reply, question)

    def test_answers_many_at_once(self, backend: Backend, question: Question) -> None:
        replies = self.run(
            backend, lambda: asyncio.gather(*(backend.answer(question) for _ in range(CONCURRENT)))
        )
        assert len(replies) == CONCURRENT
        for reply in replies:
            _check(reply, question)

    def test_cancelling_leaves_the_next_call_alone(
        self, backend: Backend, question: Question
    ) -> None:
        _check(self.run(backend, lambda: _cancel_some(backend, question)), question)

    def test_a_deadline_is_kept(self, backend: Backend, question: Question) -> None:
        self.run(backend, lambda: _miss_a_deadline(backend, question))

    def test_answers_in_one_loop_after_another(self, backend: Backend, question: Question) -> None:
        first = asyncio.run(asyncio.wait_for(backend.answer(question), self.deadline_s))
        second = self.run(backend, lambda: backend.answer(question))
        _check(first, question)
        _check(second, question)

    def test_closes_twice(self, backend: Backend, question: Question) -> None:
        async def use() -> None:
            await backend.answer(question)
            await backend.close()

        self.run(backend, use)

    def test_closes_unused(self, backend: Backend) -> None:
        self.run(backend, backend.close)

    def test_reference_and_hosting_stay(self, backend: Backend, question: Question) -> None:
        before = (backend.reference, backend.hosting)
        self.run(backend, lambda: backend.answer(question))
        assert backend.reference
        assert isinstance(backend.hosting, Hosting)
        assert (backend.reference, backend.hosting) == before

    def test_errors_are_backend_errors(self, backend: Backend, question: Question) -> None:
        """A question without task, text and messages is answered or refused, never a crash."""
        self.run(backend, lambda: _ask_nothing(backend))

    def run(self, backend: Backend, work: Callable[[], Awaitable[T]]) -> T:
        """Run on a loop of its own, within the deadline; the backend is closed at the end."""

        async def inside() -> T:
            try:
                return await asyncio.wait_for(work(), self.deadline_s)
            finally:
                await backend.close()

        return asyncio.run(inside())


class StreamingContract(BackendContract):
    """For backends that can stream: what ``Streaming`` and ``ReplyStream`` promise. ``chat`` is a
    free chat that the backend answers with more than one token."""

    @pytest.fixture
    def chat(self) -> Question:
        text = "Say in one sentence how the profit of a fifth more than expected came about."
        return Question(messages=(Message("user", text),))

    def test_streams_whole_events_up_to_done(self, backend: Backend, chat: Question) -> None:
        pieces, reply = self.run(backend, lambda: _listen(backend, chat))
        assert any(map(_is_token, _events(pieces[0]))), "no token in the first piece"
        events = [event for piece in pieces for event in _events(piece)]
        assert events[-1] == "[DONE]"
        chunks = [json.loads(event) for event in events[:-1]]
        assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
        reasons = [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"]]
        assert len(list(filter(None, reasons))) == 1
        assert _content(chunks) == reply.content
        assert reply.content
        assert reply.usage.output_tokens >= 0

    def test_streams_many_at_once(self, backend: Backend, chat: Question) -> None:
        listened = self.run(
            backend, lambda: asyncio.gather(*(_listen(backend, chat) for _ in range(CONCURRENT)))
        )
        assert all(reply.content and pieces for pieces, reply in listened)

    def test_what_was_said_so_far_is_a_beginning(self, backend: Backend, chat: Question) -> None:
        async def compare() -> None:
            stream = await _open(backend, chat)
            told = [stream.reply().content, *[stream.reply().content async for _ in stream]]
            assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(told))

        self.run(backend, compare)

    def test_a_stream_closed_early_leaves_the_next_call_alone(
        self, backend: Backend, chat: Question, question: Question
    ) -> None:
        async def leave() -> Reply:
            for count in range(3):
                stream = await _open(backend, chat)
                for _ in range(count):
                    await anext(aiter(stream), b"")
                await stream.close()
                await stream.close()
            await _cancel_streams(backend, chat)
            return await backend.answer(question)

        _check(self.run(backend, leave), question)

    def test_a_stream_that_cannot_be_is_a_backend_error(self, backend: Backend) -> None:
        async def ask() -> None:
            opened = cast("Streaming", backend).stream(Question())
            (outcome,) = await asyncio.gather(opened, return_exceptions=True)
            if isinstance(outcome, BaseException):
                assert isinstance(outcome, BackendError), repr(outcome)
            else:
                await outcome.close()

        self.run(backend, ask)


class EmbeddingContract(BackendContract):
    """For backends that turn texts into vectors: what ``Embedding`` promises."""

    def test_gives_each_text_its_vector(self, backend: Backend) -> None:
        texts = ["Profit rose.", "Profit fell.", "Profit rose."]
        found = self.run(backend, lambda: cast("Embedding", backend).embed(texts, {}))
        first, second, again = vectors_of(found)
        assert len(first) == len(second) > 1
        assert first == again != second
        assert found.model
        assert found.usage.input_tokens >= 0

    def test_embeds_many_at_once(self, backend: Backend) -> None:
        embedder = cast("Embedding", backend)
        texts = [f"Profit rose by {share} %." for share in range(CONCURRENT)]
        together = self.run(
            backend, lambda: asyncio.gather(*(embedder.embed([text], {}) for text in texts))
        )
        assert len({tuple(vectors_of(one)[0]) for one in together}) == CONCURRENT


def vectors_of(found: Embeddings) -> list[list[float]]:
    """The vectors, also of an answer that is passed on as it came."""
    if not found.raw:
        return [list(vector) for vector in found.vectors]
    data = sorted(json.loads(found.raw)["data"], key=lambda one: one["index"])
    return [one["embedding"] for one in data]


async def _open(backend: Backend, chat: Question) -> ReplyStream:
    return await cast("Streaming", backend).stream(chat)


async def _listen(backend: Backend, chat: Question) -> tuple[list[bytes], Reply]:
    stream = await _open(backend, chat)
    try:
        return [piece async for piece in stream], stream.reply()
    finally:
        await stream.close()


async def _cancel_streams(backend: Backend, chat: Question) -> None:
    """Cancel streams at different points of their beginning."""
    for turns in range(6):
        call = asyncio.ensure_future(_listen(backend, chat))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)


def _events(piece: bytes) -> list[str]:
    """The data of the events in a piece; it holds whole ones only."""
    text = piece.decode().replace("\r\n", "\n")
    assert text.endswith("\n\n"), piece
    lines = [line for line in text.split("\n") if line.startswith("data:")]
    return [line.removeprefix("data:").strip() for line in lines]


def _is_token(event: str) -> bool:
    choices = json.loads(event)["choices"] if event != "[DONE]" else []
    says = ("content", "refusal", "tool_calls")
    return any(
        choice["finish_reason"] or any(choice["delta"].get(one) for one in says)
        for choice in choices
    )


def _content(chunks: list[dict[str, Any]]) -> str:
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def _check(reply: Reply, question: Question) -> None:
    assert isinstance(reply, Reply)
    assert isinstance(reply.content, str)
    assert reply.output is not None or reply.content, "neither a typed output nor a text"
    assert reply.usage.input_tokens >= 0
    assert reply.usage.output_tokens >= 0
    if question.task is not None:
        _check_output(reply, question.task)
        _check_probabilities(reply, question.task)


def _check_output(reply: Reply, task: TaskSpec) -> None:
    if reply.output is None:
        return
    if task.kind is TaskKind.CHOICE:
        assert set(reply.output) == {"label"}
        assert reply.output["label"] in task.labels
    else:
        assert set(reply.output) == {"value"}
        assert task.low <= reply.output["value"] <= task.high


def _check_probabilities(reply: Reply, task: TaskSpec) -> None:
    if reply.probabilities is None:
        return
    assert set(reply.probabilities) == set(task.words)
    assert all(0.0 <= share <= 1.0 for share in reply.probabilities.values())
    assert sum(reply.probabilities.values()) == pytest.approx(1.0, abs=1e-3)


async def _cancel_some(backend: Backend, question: Question) -> Reply:
    """Cancel calls at different points of their life, among others that go on."""
    kept = [asyncio.ensure_future(backend.answer(question)) for _ in range(2)]
    for turns in range(6):
        call = asyncio.ensure_future(backend.answer(question))
        for _ in range(turns):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
    for reply in await asyncio.gather(*kept):
        _check(reply, question)
    return await backend.answer(question)


async def _miss_a_deadline(backend: Backend, question: Question) -> None:
    """The caller is free when its deadline is over, and the next call is answered."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.0):
            await backend.answer(question)
    _check(await backend.answer(question), question)


async def _ask_nothing(backend: Backend) -> None:
    asked = backend.answer(Question())
    (outcome,) = await asyncio.gather(asked, return_exceptions=True)
    assert isinstance(outcome, Reply | BackendError), repr(outcome)
