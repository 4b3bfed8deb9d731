"""What travels on the routes that bring examples in and out."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from inhouse.client.control import Answer, Name, Request

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
