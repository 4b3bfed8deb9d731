"""A task as the whole product sees it: schema, prompt, scoring, and their revision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from inhouse.core.hashing import digest_of


class TaskKind(StrEnum):
    """What an answer is: one of the labels, a number in a range, any text, marked places in the
    input, or an object of fields."""

    CHOICE = "choice"
    SCORE = "score"
    TEXT = "text"
    SPANS = "spans"
    JSON = "json"


class Unit(StrEnum):
    """What a split is drawn over."""

    REQUEST = "request"
    DOCUMENT = "document"
    USER = "user"


class OnLong(StrEnum):
    """What happens to input over ``max_input_tokens``."""

    WINDOW = "window"
    HEAD = "head"
    REFUSE = "refuse"


_TEXT: Final = TaskKind.TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSpec:
    """One task. Made by ``tasks.catalog``; everything in it is checked.

    ``labels``: of a choice, or the types of spans, in their declared order. ``low``/``high``: of a
    score. ``levels``: of a score, words with values in the range, ascending. ``schema``: of json,
    the JSON Schema of its object. ``prompt``: Jinja source. ``chain``: references of general
    models. ``timeout_s``: the deadline of a call; ``try_timeout_s`` of one try of it. ``coalesce``:
    identical calls at the same moment are asked once. ``on_failure``: the output that a caller
    gets, flagged, when nothing could answer; None means an error. An output is ``{"label": str}``,
    ``{"value": float}``, ``{"text": str}``, ``{"spans": [{"start", "end", "label", "text"}, ...]}``
    or the object itself. A text task without ``prompt`` passes messages through.
    """

    name: str
    kind: TaskKind
    description: str
    labels: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 1.0
    levels: tuple[tuple[str, float], ...] = ()
    schema: Mapping[str, Any] | None = None
    prompt: str
    chain: tuple[str, ...] = ()
    unit: Unit = Unit.REQUEST
    timeout_s: float = 30.0
    try_timeout_s: float | None = None
    coalesce: bool = False
    max_input_tokens: int = 2000
    on_long: OnLong = OnLong.WINDOW
    on_failure: Mapping[str, Any] | None = None
    revision: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "revision", digest_of(self._identity())[:16])

    def _identity(self) -> dict[str, Any]:
        """What makes answers comparable: output schema, prompt and scoring. Not the operation."""
        identity = {
            "kind": self.kind.value,
            "labels": list(self.labels),
            "range": [self.low, self.high] if self.kind is TaskKind.SCORE else None,
            "levels": [list(level) for level in self.levels],
            "prompt": self.prompt,
            "scoring": 1,
        }
        return identity if self.schema is None else {**identity, "schema": self.schema}

    @property
    def words(self) -> tuple[str, ...]:
        """The words a model may answer with: the labels, or the names of the levels."""
        return self.labels if self.kind is TaskKind.CHOICE else tuple(w for w, _ in self.levels)

    @property
    def takes_messages(self) -> bool:
        """Whether a chat's messages go to the model as they came."""
        return self.kind is _TEXT and not self.prompt

    @property
    def span(self) -> float:
        """Width of a score's range."""
        return self.high - self.low
