"""The form of an answer, as upstreams are told of it: a JSON Schema, "some JSON", or words alone.

Servers differ in what they take. The best is tried first; what an upstream refuses for a task is
not sent to it again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from enum import IntEnum
from typing import Any, Final

from inhouse.core.errors import BackendError
from inhouse.inference.base import Message, Question
from inhouse.inference.schemas import is_strict
from inhouse.tasks.outputs import describe, response_schema
from inhouse.tasks.spec import TaskSpec

_REFUSALS: Final = frozenset({400, 404, 422})
_NAMED: Final = re.compile(
    r"response.?format|json.?(?:schema|object|mode)|structured.?output|grammar", re.IGNORECASE
)
_NAME_CHARACTERS: Final = 64


class Form(IntEnum):
    """How an upstream is told, from the best to the last resort."""

    SCHEMA = 0
    JSON = 1
    WORDS = 2


class Forms:
    """What one model of one upstream takes, by the revision of the task: servers refuse some
    schemas and take others. Calls at the same moment may each find it out."""

    def __init__(self) -> None:
        self._known: dict[str, Form] = {}

    def of(self, spec: TaskSpec) -> Form:
        """The best form that has not been refused."""
        return self._known.get(spec.revision, Form.SCHEMA)

    def refuse(self, spec: TaskSpec, form: Form) -> None:
        """Note that the upstream does not take this form."""
        self._known[spec.revision] = Form(form + 1)


def schema_of(question: Question) -> Mapping[str, Any] | None:
    """The schema of the answer to a task; None for free chats, for tasks that have none, and where
    the options ask for a form of their own."""
    if question.task is None or "response_format" in question.options:
        return None
    return response_schema(question.task)


def formed(
    fields: Mapping[str, Any], spec: TaskSpec, schema: Mapping[str, Any], form: Form
) -> dict[str, Any]:
    """The request's fields with the form asked for. A server that is not told the schema reads it
    at the end of the last message."""
    match form:
        case Form.SCHEMA:
            told = {
                "name": spec.name[:_NAME_CHARACTERS],
                "schema": schema,
                "strict": is_strict(schema),
            }
            return {**fields, "response_format": {"type": "json_schema", "json_schema": told}}
        case Form.JSON:
            asked: dict[str, Any] = {"response_format": {"type": "json_object"}}
        case _:
            asked = {}
    return {**fields, **asked, "messages": _spelled(fields["messages"], spec)}


def is_refusal(error: BackendError, reference: str) -> bool:
    """Whether an upstream says that it does not take the form. The name of its model, which may say
    ``json-mode`` itself, tells nothing."""
    if error.upstream_status not in _REFUSALS:
        return False
    model = re.escape(reference.partition("/")[2])
    said = re.sub(rf"(?<![\w-]){model}(?![\w-])", "", error.message.removeprefix(reference))
    return bool(_NAMED.search(said))


def _spelled(messages: Sequence[Message], spec: TaskSpec) -> list[Message]:
    *before, last = messages
    told = f"{last.content}\n\nAnswer with {describe(spec)}, nothing else."
    return [*before, replace(last, content=told)]
