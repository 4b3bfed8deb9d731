"""From one backend's reply to a valid output of the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from msgspec.structs import replace

from inhouse.core.errors import BackendError, Invalid
from inhouse.inference.base import Backend, Message, Question, Reply
from inhouse.tasks.outputs import Unparsable, check, parse, repair_prompt
from inhouse.tasks.spec import TaskSpec


@dataclass(frozen=True, slots=True)
class Answer:
    """A valid output, who gave it, and its probabilities where there are any."""

    backend: Backend
    reference: str
    output: Mapping[str, Any]
    probabilities: Mapping[str, float] | None


class Notes(Protocol):
    """Counts what every reply used; the trace of a call does, and so may others who ask."""

    def note(self, backend: Backend, reply: Reply) -> None: ...


async def ask_task(
    backend: Backend, reference: str, spec: TaskSpec, question: Question, trace: Notes
) -> Answer:
    """Ask a backend a typed question.

    What a general model says is parsed; an answer that cannot be read is shown to it once with a
    request to repair it. Raises what the backend raises, and BackendError (code ``unparsable``)
    when there is no valid output in the end.
    """
    reply = await backend.answer(question)
    trace.note(backend, reply)
    if reply.output is not None:
        return Answer(
            backend, reference, _checked(spec, reply.output, question.text), reply.probabilities
        )
    output: Mapping[str, Any]
    try:
        output = parse(spec, reply.content, question.text)
    except Unparsable as reason:
        output = await _repaired(backend, spec, _repair(spec, question, reply, reason), trace)
    return Answer(backend, reference, output, reply.probabilities)


def _checked(spec: TaskSpec, output: Any, text: str) -> Mapping[str, Any]:
    try:
        return check(spec, output, text)
    except Invalid as error:
        raise BackendError(error.message, code="unparsable", hint=error.hint) from error


def _repair(spec: TaskSpec, question: Question, reply: Reply, reason: Unparsable) -> Question:
    said = Message("assistant", reply.content)
    again = Message("user", repair_prompt(spec, str(reason)))
    return replace(question, messages=(*question.messages, said, again))


async def _repaired(
    backend: Backend, spec: TaskSpec, question: Question, trace: Notes
) -> Mapping[str, Any]:
    try:
        reply = await backend.answer(question)
        trace.note(backend, reply)
        return parse(spec, reply.content, question.text)
    except (Unparsable, BackendError) as error:
        raise BackendError(
            f"what the model said is no answer to {spec.name}: {error}", code="unparsable"
        ) from error
