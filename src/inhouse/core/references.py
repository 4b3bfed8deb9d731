"""One grammar for every reference to something that can answer.

task:<task>              the task, whatever its route says
<upstream>/<model>       a model of an upstream; the model's name may hold slashes
<task>@<n>               an own version of a task, n = 1, 2, ...
embedded/<base>          a general model that runs in this installation
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from inhouse.core.errors import Invalid

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
_VERSION = re.compile(r"([a-z0-9][a-z0-9._-]{0,63})@([1-9][0-9]{0,8})\Z")


class ReferenceKind(StrEnum):
    TASK = "task"
    UPSTREAM = "upstream"
    VERSION = "version"
    EMBEDDED = "embedded"


@dataclass(frozen=True, slots=True)
class Reference:
    """A parsed reference. ``name`` is the task, upstream or base; ``model`` only for upstreams,
    ``number`` only for own versions. ``str()`` gives back what was parsed."""

    kind: ReferenceKind
    name: str
    model: str = ""
    number: int = 0

    def __str__(self) -> str:
        match self.kind:
            case ReferenceKind.TASK:
                return f"task:{self.name}"
            case ReferenceKind.UPSTREAM:
                return f"{self.name}/{self.model}"
            case ReferenceKind.VERSION:
                return f"{self.name}@{self.number}"
            case ReferenceKind.EMBEDDED:
                return f"embedded/{self.name}"


@lru_cache(maxsize=1024)
def parse_reference(text: str) -> Reference:
    """Read a reference. Raises Invalid that names the four forms."""
    if text.startswith("task:") and NAME.match(text[5:]):
        return Reference(ReferenceKind.TASK, text[5:])
    if match := _VERSION.match(text):
        return Reference(ReferenceKind.VERSION, match[1], number=int(match[2]))
    head, slash, tail = text.partition("/")
    if slash and tail and NAME.match(head) and tail.isprintable():
        if head != "embedded":
            return Reference(ReferenceKind.UPSTREAM, head, model=tail)
        if NAME.match(tail):
            return Reference(ReferenceKind.EMBEDDED, tail)
    raise Invalid(
        f"{text!r} is not a model reference",
        code="reference",
        hint="write task:<task>, <upstream>/<model>, <task>@<n> or embedded/<base>",
    )
