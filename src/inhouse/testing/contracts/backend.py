"""What every Backend promises, as a pytest class.

class TestMyEngine(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MyEngine("embedded/mine", ...)
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from inhouse.core.errors import BackendError
from inhouse.inference.base import Backend, Hosting, Message, Question, Reply
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
