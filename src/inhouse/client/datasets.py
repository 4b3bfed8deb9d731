"""What travels on the routes that bring examples in and out, freeze and compare them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field, StringConstraints

from inhouse.client.control import Answer, Dataset, Name, Request

TextFormat = Literal["csv", "jsonl", "chat", "conll"]
FileFormat = Literal["csv", "jsonl", "chat", "parquet", "conll", "docbin"]
SplitName = Literal["train", "valid", "test"]
Role = Literal["text", "target", "group", "occurred_at", "weight", "subject"]
_Line = StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*$")


class DatasetImport(Request):
    """Labelled examples as the text of a file. ``columns`` names its columns by role; ``strict``:
    one bad row and nothing is added; ``source`` is what the examples say they came from."""

    task: Name
    format: TextFormat
    content: str
    columns: dict[Role, Annotated[str, _Line]] = Field(default_factory=dict)
    strict: bool = False
    source: Annotated[str, _Line] = "api"


class BadRow(Answer):
    """A row that was left out: where it begins, counted from 1, and why."""

    line: int
    reason: str


class DatasetImported(Answer):
    """What became of the rows: ``read`` is ``added`` + ``duplicate`` + ``bad``. ``named`` are the
    first bad ones; ``unread``: columns that mean nothing, with the rows that had a value there."""

    read: int
    added: int
    duplicate: int
    bad: int
    named: Annotated[list[BadRow], Field(description="The first 100.")]
    unread: dict[str, int]


class NearRepeats(Request):
    """How near repeats are found: by ``text`` (words), by ``embedding`` (words and meaning; the
    encoder must be in the ModelStore), or not at all. ``words``: least share of runs of three words
    in common; ``meaning``: least cosine."""

    method: Literal["text", "embedding", "off"] = "text"
    words: Annotated[float, Field(gt=0, le=1)] = 0.6
    meaning: Annotated[float, Field(gt=0, le=1)] = 0.9


class DatasetBuild(Request):
    """Freeze the examples of a task as they are now, of what was recorded in ``[since, until)``."""

    task: Name
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    near: NearRepeats = Field(default_factory=NearRepeats)


class DatasetSide(Answer):
    """An example as one of two snapshots has it; the ``input`` of an erased one is no text."""

    input: Any
    target: dict[str, Any]
    split: str
    weight: float
    quality: float


class DatasetChange(Answer):
    """A text that is not in both snapshots alike. ``what``: added, removed, or the fields (target,
    input, split, weight, quality) that differ."""

    what: list[str]
    before: DatasetSide | None
    after: DatasetSide | None


class LabelChange(Answer):
    """Examples with a label that came and went; a changed target counts on both sides."""

    label: str
    added: int
    removed: int


class SplitMove(Answer):
    """Examples that went from one split to another."""

    before: str
    after: str
    examples: int


class DatasetDiff(Answer):
    """Two snapshots of a task compared. ``same``: examples alike in both; ``counts``: changes by
    what changed; ``settings``: by name, [before, after]. ``items``: changes in their order;
    ``next`` is the ``after`` of the page that follows, if any, ``total`` counts all that match."""

    before: Dataset
    after: Dataset
    same: int
    counts: dict[str, int]
    labels: list[LabelChange]
    moves: list[SplitMove]
    settings: dict[str, list[Any]]
    items: list[DatasetChange]
    next: int | None
    total: int


class Disagreement(Answer):
    """Two near texts whose targets contradict each other."""

    text: str
    target: dict[str, Any]
    other: str
    other_target: dict[str, Any]


class DatasetCard(Answer):
    """A snapshot described: sizes, labels and their shares, where it came from, what was left out,
    near repeats, lengths, agreement, and ``limits`` in words. ``command`` builds it again while the
    data is as it was; ``markdown`` is the card as a document. No author is named."""

    task: str
    task_revision: str
    id: str
    content_hash: str
    created_at: datetime
    command: str
    sizes: dict[str, int]
    labels: dict[str, dict[str, int]]
    balance: dict[str, float]
    values: dict[str, Any]
    sources: dict[str, int]
    facts: dict[str, Any]
    settings: dict[str, Any]
    dropped: dict[str, int]
    near: dict[str, Any]
    disagreements: list[Disagreement]
    erased: int
    limits: list[str]
    markdown: str
