"""Typed decisions: OpenAI's Decisions API, answered by whatever serves a task, or by one model.

A question to a task has to be the task's own: the same labels or levels. Its ``instructions`` are
not sent, the task has a prompt. A model that only says its answer in words gives no probabilities;
then the answer puts all of them on what it said, and the header ``x-inhouse-calibrated`` is false.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from inhouse.api.auth import Access, Principal
from inhouse.api.body import Receive, Scope, convert, parse, read_body
from inhouse.api.hangup import unless_gone
from inhouse.api.problems import CALL, FieldError
from inhouse.api.respond import Response, as_json
from inhouse.api.unit import unit_of
from inhouse.bootstrap import App
from inhouse.client.decisions import (
    ChoiceQuestion,
    DecisionMessage,
    DecisionQuestion,
    DecisionRequest,
    DecisionResponse,
    DecisionUsage,
    InputImage,
    InputJson,
    OutputRefusal,
    Part,
    PredicateQuestion,
    ScoreQuestion,
)
from inhouse.core.ids import new_id
from inhouse.core.references import Reference, ReferenceKind, parse_reference
from inhouse.gateway.decide import DECISION_TIMEOUT_S, decide
from inhouse.gateway.entry import Call, DirectCall, Outcome
from inhouse.gateway.keys import Permission
from inhouse.inference.base import Judgement, Usage
from inhouse.inference.questions import FreeQuestion, answer_of, judgement
from inhouse.tasks.spec import TaskKind, TaskSpec

_AFFIRMATIVE: Final = {frozenset({"yes", "no"}): "yes", frozenset({"true", "false"}): "true"}
_decoder = msgspec.json.Decoder(DecisionRequest)
_encode = msgspec.json.Encoder().encode


class Decisions:
    """The handler of ``POST /v1/decisions``."""

    def __init__(self, app: App, access: Access) -> None:
        self._app = app
        self._access = access

    async def create(self, scope: Scope, receive: Receive) -> Response:
        """Read a request, ask, answer."""
        who = self._access.require(scope, Permission.CALL)
        request = parse(_decoder, await read_body(scope, receive, self._app.body_limit))
        reference = parse_reference(request.model)
        text, questions = text_of(request.input), questions_of(request.questions)
        scope[CALL] = new_id()
        unit = unit_of(scope, request.safety_identifier)
        if reference.kind in (ReferenceKind.TASK, ReferenceKind.VERSION):
            return await self._ask_task(reference, request, text, questions[0], unit, who, scope)
        call = DirectCall(
            interaction_id=scope[CALL],
            reference=request.model,
            input={"text": text, "questions": questions},
            timeout_s=DECISION_TIMEOUT_S,
            unit=unit,
            key=who.key,
        )
        found = await unless_gone(scope, decide(self._app.gateway, call, text, questions))
        judged = found.value
        body = response(found.model_version, questions, judged.answers, judged.usage)
        return _calibrated(as_json(_encode(body), found), real=True)

    async def _ask_task(
        self,
        reference: Reference,
        request: DecisionRequest,
        text: str,
        question: FreeQuestion,
        unit: str | None,
        who: Principal,
        scope: Scope,
    ) -> Response:
        spec = self._app.catalog.get(reference.name)
        check_fits(spec, request.questions)
        call = Call(
            interaction_id=scope[CALL],
            task=reference.name,
            text=text,
            unit=unit,
            model=str(reference) if reference.kind is ReferenceKind.VERSION else None,
            key=who.key,
        )
        outcome = await unless_gone(scope, self._app.gateway.run(call))
        judged = judgement_of(spec, question, outcome)
        model = outcome.model_version or request.model
        body = response(model, [question], [judged], outcome.usage)
        return _calibrated(as_json(_encode(body), outcome), real=outcome.probabilities is not None)


def text_of(given: str | Sequence[Mapping[str, Any]]) -> str:
    """The text to decide about.

    A single user message gives its text alone. Several messages, and those of others, stand below
    each other as ``user:`` and so on, with the text in the next line and an empty line in between.
    Parts of a message are joined by line ends; JSON parts are compact JSON. Raises FieldError for
    pictures, calls of tools and their outputs, and when there is nothing to read.
    """
    if isinstance(given, str):
        return given
    messages = [_message(position, one) for position, one in enumerate(given)]
    texts = [_joined(one.content, f"input[{at}].content") for at, one in enumerate(messages)]
    if not any(text.strip() for text in texts):
        raise FieldError("input: there is no text in it", field="input")
    if len(messages) == 1 and messages[0].role == "user":
        return texts[0]
    pairs = zip(messages, texts, strict=True)
    return "\n\n".join(f"{message.role}:\n{text}" for message, text in pairs)


def questions_of(questions: Sequence[DecisionQuestion]) -> list[FreeQuestion]:
    """The questions as backends take them, their instructions being texts.

    Raises FieldError for pictures in instructions, and for a choice that is there twice.
    """
    return [_question(position, one) for position, one in enumerate(questions)]


def check_fits(spec: TaskSpec, questions: Sequence[DecisionQuestion]) -> None:
    """Raise FieldError unless the one question is the task's own.

    A choice: its values are the task's labels, in any order; of a task with the labels yes and no
    (or true and false), also a predicate. A score: its levels are the task's, in their order.
    """
    if len(questions) != 1:
        raise _misfit("questions", f"task {spec.name} answers one question, got {len(questions)}")
    question = questions[0]
    match question:
        case PredicateQuestion() if spec.kind is TaskKind.CHOICE:
            if frozenset(spec.labels) not in _AFFIRMATIVE:
                raise _misfit("questions[0].type", _wants(spec))
        case ChoiceQuestion() if spec.kind is TaskKind.CHOICE:
            values = [choice.value for choice in question.choices]
            if not all(isinstance(value, str) for value in values) or set(values) != set(
                spec.labels
            ):
                raise _misfit("questions[0].choices", _wants(spec))
        case ScoreQuestion() if spec.kind is TaskKind.SCORE:
            if tuple(level.label for level in question.levels) != spec.words:
                raise _misfit("questions[0].levels", _wants(spec))
        case _:
            raise _misfit("questions[0].type", _wants(spec))


def judgement_of(spec: TaskSpec, question: FreeQuestion, outcome: Outcome) -> Judgement:
    """A task's answer in terms of the question, which fits the task.

    Without probabilities a label is certain, and a number lies on the two levels beside it, so
    that the expected level stands where the number does.
    """
    shares = outcome.probabilities or _certain(spec, outcome.output)
    match question["type"]:
        case "predicate":
            yes = _AFFIRMATIVE[frozenset(spec.labels)]
            words = [yes, *(label for label in spec.labels if label != yes)]
        case "choice":
            words = [choice["value"] for choice in question["choices"]]
        case _:
            words = list(spec.words)
    return judgement(question, [shares[word] for word in words])


def response(
    model: str, questions: Sequence[FreeQuestion], judged: Sequence[Judgement], usage: Usage
) -> DecisionResponse:
    """The whole answer."""
    return DecisionResponse(
        model=model,
        answers=[answer_of(*pair) for pair in zip(questions, judged, strict=True)],
        usage=DecisionUsage(
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            total_tokens=usage.input_tokens + usage.output_tokens,
        ),
    )


def _message(position: int, given: Mapping[str, Any]) -> DecisionMessage:
    kind = given.get("type", "message")
    if kind != "message":
        raise FieldError(
            f"input[{position}].type: {kind!r} is not read here",
            field=f"input[{position}].type",
            code="input-unsupported",
            hint="send what tools were asked and said as text of a message",
        )
    try:
        return convert(given, DecisionMessage)
    except FieldError as error:
        where = f"input[{position}]"
        path = f"{where}.{error.field}" if error.field else where
        told = error.message.removeprefix(error.field).removeprefix("the body")
        raise FieldError(f"{path}{told}", field=path, code=error.code) from None


def _joined(content: str | Sequence[Part], where: str) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(_part(part, f"{where}[{at}]") for at, part in enumerate(content))


def _part(part: Part, where: str) -> str:
    if isinstance(part, InputImage):
        raise FieldError(
            f"{where}: pictures are not read here",
            field=where,
            code="input-unsupported",
            hint="send text and JSON parts only",
        )
    if isinstance(part, InputJson):
        return msgspec.json.encode(part.data).decode()
    return part.refusal if isinstance(part, OutputRefusal) else part.text


def _question(position: int, question: DecisionQuestion) -> FreeQuestion:
    where = f"questions[{position}]"
    if isinstance(question, ChoiceQuestion):
        values = [(type(choice.value), choice.value) for choice in question.choices]
        if len(set(values)) < len(values):
            raise FieldError(f"{where}.choices: a value is there twice", field=f"{where}.choices")
    plain: dict[str, Any] = msgspec.to_builtins(question)
    plain["instructions"] = _joined(question.instructions, f"{where}.instructions")
    return plain


def _certain(spec: TaskSpec, output: Mapping[str, Any]) -> dict[str, float]:
    if spec.kind is TaskKind.CHOICE:
        return {label: float(label == output["label"]) for label in spec.labels}
    value = float(output["value"])
    words = dict.fromkeys(spec.words, 0.0)
    for (low, start), (high, end) in itertools.pairwise(spec.levels):
        if value <= end or high == spec.words[-1]:
            along = min(1.0, max(0.0, (value - start) / (end - start)))
            return {**words, low: 1 - along, high: along}
    return words


def _misfit(field: str, message: str) -> FieldError:
    return FieldError(
        f"{field}: {message}",
        field=field,
        code="decision-mismatch",
        hint="ask <upstream>/<model> or embedded/<base> for questions of your own",
    )


_ANSWERS = {TaskKind.TEXT: "a text", TaskKind.SPANS: "spans", TaskKind.JSON: "an object"}


def _wants(spec: TaskSpec) -> str:
    if spec.kind is TaskKind.CHOICE:
        return f"task {spec.name} takes a choice between {', '.join(spec.labels)}"
    if spec.words:
        return f"task {spec.name} takes a score with the levels {', '.join(spec.words)}"
    if spec.kind is TaskKind.SCORE:
        return f"task {spec.name} declares no levels, so it decides between none"
    return f"task {spec.name} answers with {_ANSWERS[spec.kind]}, which is no decision"


def _calibrated(answer: Response, *, real: bool) -> Response:
    answer.headers.append((b"x-inhouse-calibrated", b"true" if real else b"false"))
    return answer
