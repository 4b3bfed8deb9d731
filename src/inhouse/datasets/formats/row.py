"""What a format reads and writes: rows in, records out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, Protocol

from inhouse.core.errors import Invalid
from inhouse.tasks.spec import TaskSpec

LONGEST_LINE: Final = 16 * 1024 * 1024
"""Bytes of a line that is read; a packed file of a few kilobytes can hold one of gigabytes."""
TOO_LONG: Final = f"the line is over {LONGEST_LINE // 1024 // 1024} MiB"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One row: where it begins (a line from 1; in Parquet and DocBin the number of the row), and
    its fields or its problem."""

    line: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One example on its way out. ``group`` is None where the text belongs to nothing else."""

    text: str
    target: Mapping[str, Any]
    weight: float
    quality: float
    group: str | None
    split: str


class Format(Protocol):
    """A format. Files are open for bytes and can be read again from their beginning.

    ``columns``: names that rows may have. ``read``: the rows, one at a time, with what the caller
    named as columns. ``write``: all records that the format can carry; returns how many it could
    not, by reason. Both raise Invalid (``import-format``, ``export-format``) when the whole file
    cannot be read, or the kind of task does not fit the format.
    """

    def columns(self, file: BinaryIO) -> Sequence[str]: ...

    def read(self, file: BinaryIO, named: Mapping[str, str]) -> Iterator[Row]: ...

    def write(
        self, file: BinaryIO, spec: TaskSpec, records: Iterable[Record]
    ) -> dict[str, int]: ...


def lines_of(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """The lines, counted from 1; None for one over ``LONGEST_LINE``, which is not kept."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        is_long = len(line) > LONGEST_LINE
        yield number, None if is_long else line
        while is_long and line and not line.endswith(b"\n"):
            line = file.readline(LONGEST_LINE)


def refuse_file(why: str) -> Invalid:
    """The error for a file that is not what it is taken for."""
    return Invalid(
        f"the file cannot be read: {why}",
        code="import-format",
        hint="name its format with --format: csv, jsonl, chat, parquet, conll or docbin",
    )


def refuse_kind(name: str, spec: TaskSpec, carries: str) -> Invalid:
    """The error for a task whose outputs a format has no place for."""
    return Invalid(
        f"{name} carries {carries}; {spec.name} is a task of kind {spec.kind}",
        code="export-format",
        hint="csv, jsonl, chat and parquet carry every kind",
    )
