"""The JSON that stands in what a model said. Pure.

Read where it is certain what is meant: the whole answer is JSON, or one code fence holds it, or
complete objects stand in the prose. What is cut off, has trailing commas or single quotes is no
JSON, and nothing is mended here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

_FENCE = re.compile(r"```(?:json)?(.*?)```", re.DOTALL)
_STEP = re.compile(r'[{}"]')
_STRING_END = re.compile(r'[\\"]')
_MOST = 32


class Unparsable(ValueError):
    """What the model said is no answer to the task; the text says why."""


def json_in(said: str) -> list[Any]:
    """The JSON values that the answer consists of or holds, at most 32; objects and arrays only.

    An answer that is JSON as a whole is one value; else the one code fence that holds JSON is;
    else every complete object in the prose is. Empty when there is none.
    """
    fenced = [inside for match in _FENCE.finditer(said) if (inside := match[1].strip())]
    for candidate in (said.strip(), *(fenced if len(fenced) == 1 else ())):
        found = _decoded(candidate)
        if isinstance(found, dict | list):
            return [found]
    values = []
    for text in _objects(said):
        found = _decoded(text)
        if isinstance(found, dict):
            values.append(found)
        if len(values) == _MOST:
            break
    return values


def _decoded(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def _objects(text: str) -> Iterator[str]:
    """Every ``{...}`` whose braces balance, outermost only; quotes count inside of braces."""
    depth = start = at = 0
    while (step := _STEP.search(text, at)) is not None:
        at = step.end()
        if step[0] == "{":
            start = step.start() if depth == 0 else start
            depth += 1
        elif step[0] == "}" and depth:
            depth -= 1
            if depth == 0:
                yield text[start:at]
        elif step[0] == '"' and depth:
            at = _after_string(text, at)


def _after_string(text: str, at: int) -> int:
    """Where the string that began before ``at`` is over."""
    while (mark := _STRING_END.search(text, at)) is not None:
        at = mark.end() + (mark[0] == "\\")
        if mark[0] == '"':
            return at
    return len(text)
