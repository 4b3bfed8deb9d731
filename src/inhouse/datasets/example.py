"""An example, and what names its content."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from inhouse.core.errors import Invalid
from inhouse.core.hashing import digest_of
from inhouse.tasks.spec import TaskSpec

_GROUP_LENGTH = 200
_KEY = re.compile(r"unit:[0-9a-f]{32}|group#[0-9a-f]{64}")


class Split(StrEnum):
    """Where an example may be used: to fit, to choose, to score."""

    TRAIN = "train"
    VALID = "valid"
    TEST = "test"


class DropReason(StrEnum):
    """Why something did not become an example of a snapshot."""

    NO_INTERACTION = "no-interaction"
    """Feedback whose interaction is not recorded (yet), for whichever task it is."""
    OTHER_REVISION = "other-revision"
    """The task was declared differently then."""
    UNFIT_TARGET = "unfit-target"
    """What was said is no output of the task."""
    EMPTY_INPUT = "empty-input"
    """The input is blank, was erased, or is no text."""
    DUPLICATE = "duplicate"
    """The same text with the same target is there already."""
    CONFLICTING = "conflicting"
    """The same text is there with a target that more weight stands behind."""
    NEAR_DUPLICATE = "near-duplicate"
    """Almost the same text, and older, is there in another split."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """A curated example.

    ``input``: the text as it was sent. ``target``: a valid output of the task. ``weight`` > 0.
    ``quality`` in [0, 1]: agreement behind the target. ``group``: what must not straddle splits.
    ``split``: empty until it is decided. ``origin``: ``{"kind": "correction" | "outcome",
    "interaction_id", "feedback_ids"}`` or ``{"kind": "import", "imported_id", "source",
    "row"}``. ``occurred_at``: when the text came, None where nobody knows and in stored snapshots.
    """

    input: str
    target: Mapping[str, Any]
    weight: float = 1.0
    quality: float = 1.0
    group: str
    split: str = ""
    origin: Mapping[str, Any]
    occurred_at: datetime | None = None

    @property
    def content_hash(self) -> str:
        """Names what is learned from: not where it came from, when, or its split."""
        content = [self.input, dict(self.target), float(self.weight), float(self.quality)]
        return digest_of(content)


def named_group(name: str) -> str:
    """Group key of a document or group that the data names. A key that an export wrote, since it
    stands for no name, is the key again."""
    return name if _KEY.fullmatch(name) else _group("group", name)


def unit_group(pseudonym: str) -> str:
    """Group key of a unit of the route, by its pseudonym."""
    return _group("unit", pseudonym)


def text_group(normalised: str) -> str:
    """Group key of a text that belongs to nothing else."""
    return "text:" + digest_of(normalised)


def stands_alone(group: str) -> bool:
    """Whether a group key is that of a text that belongs to nothing else."""
    return group.startswith("text:")


def _group(kind: str, name: str) -> str:
    """Long names and those that a database cannot hold stand there as their hash."""
    plain = len(name) <= _GROUP_LENGTH and name.isprintable()
    return f"{kind}:{name}" if plain else f"{kind}#{digest_of(name)}"


def check_learnable(spec: TaskSpec) -> None:
    """Raise Invalid (code ``task-without-examples``) for a task that passes chats through: its
    answers depend on a whole conversation, and an example has one text."""
    if spec.takes_messages:
        raise Invalid(
            f"task {spec.name} passes chats through, and an example has one text as its input",
            code="task-without-examples",
            hint="give the task a prompt, then its calls have one text",
        )
