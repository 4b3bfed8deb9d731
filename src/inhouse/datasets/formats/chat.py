"""Chat JSON Lines, as OpenAI's fine-tuning takes them: ``{"messages": [...]}`` a line.

The last message of the user is the text, the assistant's message behind it the target. Messages
before them are not read. A conversation has no place for weights, groups and splits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import msgspec

from inhouse.core.errors import Invalid
from inhouse.datasets.formats import jsonlines
from inhouse.datasets.formats.row import Record, Row
from inhouse.datasets.formats.targets import cell
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskSpec


def columns(_file: BinaryIO) -> Sequence[str]:
    """A conversation gives a text and a target."""
    return ("text", "target")


def read(file: BinaryIO, named: Mapping[str, str]) -> Iterator[Row]:
    """The last question and its answer, of every line."""
    for row in jsonlines.read(file, named):
        if row.problem:
            yield row
            continue
        try:
            text, target = _pair(row.fields.get("messages"))
        except Invalid as error:
            yield Row(line=row.line, problem=error.message)
            continue
        yield Row(line=row.line, fields={"text": text, "target": target})


def write(file: BinaryIO, spec: TaskSpec, records: Iterable[Record]) -> dict[str, int]:
    """A system message that says what a valid answer is, the text, and the target as the answer."""
    about = f"{spec.description}. " if spec.description else ""
    system = {"role": "system", "content": f"{about}Answer with {outputs.describe(spec)}."}
    for one in records:
        messages = [
            system,
            {"role": "user", "content": one.text},
            {"role": "assistant", "content": cell(spec, one.target)},
        ]
        file.write(msgspec.json.encode({"messages": messages}) + b"\n")
    return {}


def _pair(messages: Any) -> tuple[str, str]:
    if not isinstance(messages, list) or not all(isinstance(one, dict) for one in messages):
        raise Invalid("messages is no list of messages")
    asked = [place for place, one in enumerate(messages) if one.get("role") == "user"]
    if not asked:
        raise Invalid("there is no message of a user")
    answers = [one for one in messages[asked[-1] :] if one.get("role") == "assistant"]
    if not answers:
        raise Invalid("no message of the assistant stands behind the user's last one")
    if answers[-1].get("weight") == 0:
        raise Invalid("the assistant's message has weight 0")
    return _content(messages[asked[-1]], "user"), _content(answers[-1], "assistant")


def _content(message: Mapping[str, Any], role: str) -> str:
    """A message's text: one string, or parts that are all text."""
    content = message.get("content")
    if isinstance(content, list) and all(_is_text_part(part) for part in content):
        return "".join(part["text"] for part in content)
    if not isinstance(content, str):
        raise Invalid(f"the message of the {role} is not all text")
    return content


def _is_text_part(part: Any) -> bool:
    return isinstance(part, dict) and isinstance(part.get("text"), str)
