"""Typed questions to upstreams: to hosted decision models, and to chat models by likelihood."""

from __future__ import annotations

import asyncio
import math
import string
from collections.abc import Mapping, Sequence
from typing import Any, Final

from inhouse.core.errors import BackendError, Invalid
from inhouse.inference.base import Judgement, Judgements, Question, Reply, Usage
from inhouse.inference.questions import FreeQuestion, asked, judgement, listing, words_of
from inhouse.inference.wire import Wire, decode, encode
from inhouse.tasks.outputs import from_probabilities
from inhouse.tasks.spec import TaskKind, TaskSpec

MOST_OPTIONS: Final = 20
"""What a chat model can be asked for: servers tell the probabilities of 20 tokens at most."""
AT_ONCE: Final = 8
LEAST_MASS: Final = 0.01
"""Less than this on all letters together is no answer."""
_PLAIN: Final = "The answer that the input asks for."


async def decide(
    wire: Wire, model: str, text: str, questions: Sequence[FreeQuestion]
) -> Judgements:
    """Ask a hosted decision model everything in one ``POST /decisions``.

    Raises what ``Wire.post`` raises, and BackendError (``upstream-garbage``) for an answer that
    does not fit the questions.
    """
    body = encode({"model": model, "input": text, "questions": questions})
    raw = (await wire.post("/decisions", body)).body
    found = decode(raw)
    answers = found.get("answers") if found is not None else None
    if found is None or not isinstance(answers, list) or len(answers) != len(questions):
        raise wire.error("upstream-garbage", "sent no decision", wire.detail(raw))
    name = found.get("model")
    try:
        read = tuple(_native(*pair) for pair in zip(questions, answers, strict=True))
    except (KeyError, TypeError, ValueError) as error:
        raise wire.error(
            "upstream-garbage", "sent an answer that does not fit its question", str(error)
        ) from None
    return Judgements(
        answers=read,
        usage=_usage(found.get("usage"), "input_tokens", "output_tokens"),
        model=name if isinstance(name, str) else model,
    )


async def answer_typed(wire: Wire, model: str, question: Question) -> Reply:
    """Ask a hosted decision model the question of a task, with its rendered prompt as the input.

    Raises what ``decide`` raises, and BackendError: ``unsupported`` for a free chat, a task of
    texts and a score without levels, ``upstream-refused``.
    """
    spec = question.task
    if spec is None or not spec.words:
        raise BackendError(
            f"{wire.reference} decides between words, and this question has none",
            code="unsupported",
            hint="a score needs levels to be asked of a decision model",
        )
    text = "\n\n".join(str(message.content) for message in question.messages) or question.text
    found = await decide(wire, model, text, [_typed(spec)])
    shares = found.answers[0].probabilities
    if shares is None:
        raise wire.error("upstream-refused", "refused to answer")
    probabilities = dict(zip(spec.words, shares, strict=True))
    return Reply(
        output=from_probabilities(spec, probabilities),
        probabilities=probabilities,
        usage=found.usage,
        model=found.model,
    )


async def judge_by_chat(
    wire: Wire, model: str, text: str, questions: Sequence[FreeQuestion]
) -> Judgements:
    """Ask a chat model question by question, eight at a time, for the letter of an option; the
    probabilities of the letters are the answer.

    Raises what ``Wire.post`` raises; Invalid (``too-many-options``) for more than 20 options; and
    BackendError: ``no-probabilities`` when the upstream tells none, ``upstream-garbage``,
    ``unparsable`` when no option is likely.
    """
    for position, question in enumerate(questions):
        if len(words_of(question)) > MOST_OPTIONS:
            raise Invalid(
                f"questions[{position}].choices: a chat model chooses from {MOST_OPTIONS} at most",
                code="too-many-options",
                hint="ask a decision model or an embedded one, or split the question",
            )
    gate = asyncio.Semaphore(AT_ONCE)

    async def judge(question: FreeQuestion) -> tuple[Judgement, Usage, str]:
        async with gate:
            raw = (await wire.post("/chat/completions", _lettered(model, text, question))).body
        return _judged(wire, question, raw)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(judge(question)) for question in questions]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    done = [task.result() for task in tasks]
    return Judgements(
        answers=tuple(answer for answer, _, _ in done),
        usage=Usage(
            input_tokens=sum(usage.input_tokens for _, usage, _ in done),
            output_tokens=sum(usage.output_tokens for _, usage, _ in done),
        ),
        model=done[0][2] or model,
    )


def _typed(spec: TaskSpec) -> dict[str, Any]:
    """A task's question as a decision model reads it."""
    question: dict[str, Any] = {"instructions": spec.description or _PLAIN, "name": spec.name}
    if spec.kind is TaskKind.CHOICE:
        choices = [{"value": label} for label in spec.labels]
        return {"type": "choice", "choices": choices, **question}
    return {"type": "score", "levels": [{"label": word} for word in spec.words], **question}


def _native(question: FreeQuestion, answer: Mapping[str, Any]) -> Judgement:
    """A decision model's answer. Raises KeyError, TypeError or ValueError when it is none."""
    kind = answer["type"]
    if kind == "refusal":
        return Judgement(probabilities=None)
    if kind != question["type"]:
        raise ValueError(f"a {question['type']} was answered by a {kind}")
    if kind == "predicate":
        likely = float(answer["probability"])
        if not 0 <= likely <= 1:
            raise ValueError("a probability is not between 0 and 1")
        return Judgement(probabilities=(likely,))
    told = {(type(one["value"]), one["value"]): one["probability"] for one in _list(answer)}
    values = (
        [choice["value"] for choice in question["choices"]]
        if kind == "choice"
        else range(len(question["levels"]))
    )
    return judgement(question, [float(told[type(value), value]) for value in values])


def _list(answer: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = answer["probabilities"]
    if not isinstance(found, list):
        raise TypeError("probabilities are no list")
    return found


def _lettered(model: str, text: str, question: FreeQuestion) -> bytes:
    letters = string.ascii_uppercase[: len(words_of(question))]
    prompt = (
        f"{text}\n\n---\nA question about the text above:\n{asked(question)}\n\n"
        f"{listing(question, [f'{letter}.' for letter in letters])}\n\n"
        "Answer with the letter of the right option and nothing else."
    )
    return encode(
        {
            "model": model,
            "messages": [{"role": "user", "content": prompt}],
            "logprobs": True,
            "top_logprobs": MOST_OPTIONS,
            "max_tokens": 1,
            "temperature": 0,
        }
    )


def _judged(wire: Wire, question: FreeQuestion, raw: bytes) -> tuple[Judgement, Usage, str]:
    """The answer in a chat completion of one token, what it used, and who gave it."""
    body = decode(raw) or {}
    try:
        choice = body["choices"][0]
        refused = choice["message"].get("refusal")
    except (KeyError, IndexError, TypeError, AttributeError):
        raise wire.error("upstream-garbage", "sent no chat completion", wire.detail(raw)) from None
    usage = _usage(body.get("usage"), "prompt_tokens", "completion_tokens")
    name = body.get("model")
    name = name if isinstance(name, str) else ""
    if refused or choice.get("finish_reason") == "content_filter":
        return Judgement(probabilities=None), usage, name
    return judgement(question, _weights(wire, question, choice)), usage, name


def _weights(wire: Wire, question: FreeQuestion, choice: Mapping[str, Any]) -> list[float]:
    """How likely each letter is, over all ways to write it ("A", " A", "A.", "(A")."""
    try:
        told = choice["logprobs"]["content"][0]["top_logprobs"]
        tokens = [(str(one["token"]), math.exp(float(one["logprob"]))) for one in told]
    except (KeyError, IndexError, TypeError, ValueError, OverflowError):
        tokens = []
    if not tokens:
        raise BackendError(
            f"{wire.reference} tells no probabilities",
            code="no-probabilities",
            hint="decisions need a model whose server gives logprobs, an embedded one, or a task",
        )
    weights = dict.fromkeys(string.ascii_uppercase[: len(words_of(question))], 0.0)
    for token, likely in tokens:
        letter = token.strip(" \t\n.:()[]*\"'`▁Ġ")
        if letter in weights:
            weights[letter] += likely
    if sum(weights.values()) < LEAST_MASS:
        raise wire.error(
            "unparsable", "answered with none of the options", wire.clean(tokens[0][0])
        )
    return list(weights.values())


def _usage(found: Any, sent: str, received: str) -> Usage:
    counts = found if isinstance(found, dict) else {}
    return Usage(input_tokens=_count(counts.get(sent)), output_tokens=_count(counts.get(received)))


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0
