"""The embedded general model: a small language model on this machine, in a child process.

Typed questions are answered by the likelihood of the task's words, calibrated; free chats by
generation. No torch here.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from inhouse.core.errors import BackendError, InhouseError, Unavailable
from inhouse.core.hashing import sha256_file
from inhouse.inference.base import Hosting, Judgement, Judgements, Message, Question, Reply, Usage
from inhouse.inference.engines.calibration import CONTENT_FREE, Calibration, Calibrations
from inhouse.inference.engines.children import command, require
from inhouse.inference.engines.lm_decide import Priors, judged, scoring
from inhouse.inference.engines.lm_form import form_of, room_of, said
from inhouse.inference.engines.lm_options import options_of
from inhouse.inference.engines.lm_process import Found, LmProcess
from inhouse.inference.questions import FreeQuestion
from inhouse.tasks.outputs import from_probabilities
from inhouse.tasks.prompts import render
from inhouse.tasks.spec import TaskSpec

_CHILD = "inhouse.inference.engines.lm_child"
_WEIGHTS = "model.safetensors"
_LONGEST_PAUSE_S = 30.0
_PROBES = ("N/A", "The")
_DECIDED_AT_ONCE = 2


class EmbeddedLM:
    """A Backend on the weights in ``model_dir`` (made by ``lm_convert``); hosting is ``local``.

    The child starts with the first question, or with ``start``. One that crashes fails what it was
    asked (``engine-crashed``, retryable) and starts again with the next question; after a second
    crash in a row there is a pause of 1 s, doubling up to 30 (``engine-paused``, retryable).

    Raises Unavailable: ``missing-extra`` without torch, ``base-missing`` without the files.
    """

    def __init__(
        self, reference: str, *, model_dir: Path, calibration_dir: Path, threads: int = 1
    ) -> None:
        require("lm", "torch", "transformers", "llguidance")
        if not (model_dir / _WEIGHTS).is_file():
            raise Unavailable(f"{model_dir} holds no converted model", code="base-missing")
        self._reference = reference
        self._model_dir = model_dir
        self._threads = threads
        self._guard = threading.Lock()
        self._process: LmProcess | None = None
        self._closed = False
        self._starts = 0
        self._not_before = 0.0
        self._calibrations = Calibrations(
            calibration_dir,
            base=reference.rpartition("/")[2],
            weights=lambda: self._digest,
            measure=self._measure,
        )
        self._priors = Priors()

    @property
    def reference(self) -> str:
        return self._reference

    @property
    def hosting(self) -> Hosting:
        return Hosting.LOCAL

    @cached_property
    def about(self) -> str:
        """What it is, in words for a report, with its size."""
        with (self._model_dir / _WEIGHTS).open("rb") as file:
            header = msgspec.json.decode(file.read(int.from_bytes(file.read(8), "little")))
        ends = (each["data_offsets"][1] for each in header.values() if "data_offsets" in each)
        return f"general language model on this machine, {max(ends) / 2e6:.0f} M parameters"

    def start(self) -> None:
        """Start the child now and return at once; it loads in some seconds."""
        self._running()

    async def answer(self, question: Question) -> Reply:
        """A typed output with probabilities for a task with words; else a text, and a ``body`` in
        the form of OpenAI's chat completion. The text keeps to the schema of the task, or of the
        chat's ``response_format``, token by token; spans are quotes of the input.

        Raises BackendError: ``unsupported`` for what it cannot do (pictures, tools, a prompt over
        its context, a schema that no grammar expresses), ``engine-cut`` for a typed answer that had
        no room, ``engine-crashed`` and ``engine-paused`` (retryable), ``engine-failed``,
        ``engine-closed``.
        """
        spec = question.task
        if spec is None or not spec.words:
            return await self._chat(question)
        asked = await self._submit(_likelihoods(spec, _messages(question)))
        try:
            calibration = await self._calibration(spec)
            found = await asyncio.wrap_future(asked)
        finally:
            asked.cancel()
        self._starts = 0
        scores = dict(zip(spec.words, found["scores"], strict=True))
        probabilities = calibration.probabilities(scores)
        best = max(range(len(spec.words)), key=lambda at: probabilities[spec.words[at]])
        return Reply(
            output=from_probabilities(spec, probabilities),
            probabilities=probabilities,
            usage=Usage(input_tokens=found["prompt_tokens"], output_tokens=found["lengths"][best]),
            model=self._reference,
        )

    async def decide(self, text: str, questions: Sequence[FreeQuestion]) -> Judgements:
        """Free typed questions, by the likelihood of the words of their options, with the model's
        preference among them (over inputs that say nothing) taken off.

        Two questions run at a time, so that tasks get their turns in between. What was measured of
        the last 256 questions is kept in memory. Raises BackendError as ``answer`` does.
        """
        gate = asyncio.Semaphore(_DECIDED_AT_ONCE)

        async def judge(question: FreeQuestion) -> tuple[Judgement, Usage]:
            async with gate:
                return await self._judge(text, question)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(judge(question)) for question in questions]
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None
        done = [task.result() for task in tasks]
        usage = Usage(
            input_tokens=sum(used.input_tokens for _, used in done),
            output_tokens=sum(used.output_tokens for _, used in done),
        )
        answers = tuple(judgement for judgement, _ in done)
        return Judgements(answers=answers, usage=usage, model=self._reference)

    def calibrate(self, spec: TaskSpec, texts: Sequence[str]) -> Calibration:
        """Measure the model's preferences on unlabelled inputs of the task (at least 8), store them
        and answer with them from now on. Blocks, some 100 ms a text.

        Raises Invalid (``calibration-texts``) for too few texts, and what ``answer`` raises.
        """
        return self._calibrations.measure_on(spec, texts)

    async def close(self) -> None:
        """End the child; what it was asked fails with ``engine-closed``."""
        self._closed = True
        self._calibrations.close()
        await asyncio.to_thread(self._end)

    async def _chat(self, question: Question) -> Reply:
        options, spec = options_of(self._reference, question.options), question.task
        if spec is not None:
            options.setdefault("max_tokens", room_of(spec))
        form = form_of(question)
        request = {"messages": _messages(question), "options": options, "form": form}
        found = await asyncio.wrap_future(await self._submit({"op": "chat", **request}))
        self._starts = 0
        if spec is not None and form is not None and found["finish_reason"] == "length":
            raise BackendError(
                f"{self._reference} ran out of tokens before its answer was complete",
                code="engine-cut",
                hint="timeout_s of the task gives it more",
            )
        usage = Usage(input_tokens=found["prompt_tokens"], output_tokens=found["completion_tokens"])
        return Reply(
            content=said(form, found["content"]),
            usage=usage,
            model=self._reference,
            body=_completion(self._reference, found, usage),
        )

    async def _judge(self, text: str, question: FreeQuestion) -> tuple[Judgement, Usage]:
        prior = self._priors.get(question)
        texts = (text,) if prior is not None else (text, *CONTENT_FREE)
        asked: list[Future[Found]] = []
        try:
            for each in texts:
                asked += [await self._submit(scoring(each, question))]
            found, *free = [await asyncio.wrap_future(one) for one in asked]
        finally:
            for one in asked:
                one.cancel()
        self._starts = 0
        if prior is None:
            prior = self._priors.put(question, [empty["scores"] for empty in free])
        return judged(question, found, prior)

    async def _calibration(self, spec: TaskSpec) -> Calibration:
        """The task's calibration. Shielded: a caller that goes away leaves it to the others."""
        known = self._calibrations.known(spec)
        if known is not None:
            return known
        return await asyncio.shield(asyncio.wrap_future(self._calibrations.obtain(spec)))

    def _measure(self, spec: TaskSpec, texts: Sequence[str]) -> list[dict[str, float]]:
        asked = [
            self._running().submit(_likelihoods(spec, _rendered(spec, text))) for text in texts
        ]
        return [dict(zip(spec.words, each.result()["scores"], strict=True)) for each in asked]

    async def _submit(self, request: Mapping[str, Any]) -> Future[Found]:
        process = self._process
        if process is None or not process.alive:
            process = await asyncio.to_thread(self._running)
        return process.submit(request)

    def _running(self) -> LmProcess:
        """The child, started when it is not alive and the pause after crashes is over."""
        with self._guard:
            if self._closed:
                raise BackendError("the language model was closed", code="engine-closed")
            if self._process is not None and self._process.alive:
                return self._process
            left = self._not_before - time.monotonic()
            if left > 0:
                raise BackendError(
                    f"{self._reference} crashed {self._starts} times in a row",
                    code="engine-paused",
                    retryable=True,
                    retry_after=left,
                )
            pause = 2.0 ** (self._starts - 1) if self._starts else 0.0
            self._not_before = time.monotonic() + min(pause, _LONGEST_PAUSE_S)
            self._starts += 1
            self._process = LmProcess(command(_CHILD, str(self._model_dir)), threads=self._threads)
            return self._process

    def _end(self) -> None:
        with self._guard:
            if self._process is not None:
                self._process.close()

    @cached_property
    def _digest(self) -> str:
        return sha256_file(self._model_dir / _WEIGHTS)


def _likelihoods(spec: TaskSpec, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "op": "likelihoods",
        "key": spec.revision,
        "probes": [_rendered(spec, text) for text in _PROBES],
        "messages": messages,
        "words": spec.words,
    }


def _rendered(spec: TaskSpec, text: str) -> list[dict[str, str]]:
    try:
        return [{"role": "user", "content": render(spec, text)}]
    except InhouseError as error:
        raise BackendError(error.message, code=error.code, hint=error.hint) from None


def _messages(question: Question) -> list[dict[str, str]]:
    """The messages as role and text. Raises BackendError for what a text model cannot read."""
    given: Sequence[Any] = question.options.get("messages") or question.messages
    if not given and question.task is not None:
        return _rendered(question.task, question.text)
    if not given:
        raise BackendError("there is nothing to answer", code="unsupported", fatal=True)
    return [_plain(message) for message in given]


def _plain(message: Message | Mapping[str, Any]) -> dict[str, str]:
    if not isinstance(message, Message):
        if message.get("tool_calls") or message["role"] == "tool":
            raise BackendError("the embedded model knows no tools", code="unsupported")
        message = Message(message["role"], message.get("content"))
    content = message.content or ""
    texts = [content] if isinstance(content, str) else list(map(_text, _parts(content)))
    return {"role": message.role, "content": "\n".join(texts)}


def _parts(content: Any) -> list[Any]:
    return content if isinstance(content, list) else [content]


def _text(part: Any) -> str:
    text = part.get("text") if isinstance(part, Mapping) and part.get("type") == "text" else None
    if not isinstance(text, str):
        raise BackendError("the embedded model reads text only", code="unsupported")
    return text


def _completion(reference: str, found: Found, usage: Usage) -> dict[str, Any]:
    message = {"role": "assistant", "content": found["content"], "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None}
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": reference,
        "choices": [{**choice, "finish_reason": found["finish_reason"]}],
        "usage": {
            "prompt_tokens": usage.input_tokens,
            "completion_tokens": usage.output_tokens,
            "total_tokens": usage.input_tokens + usage.output_tokens,
        },
    }
