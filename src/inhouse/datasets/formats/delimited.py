"""CSV with a header: RFC 4180, UTF-8, with or without a byte order mark."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from io import TextIOWrapper
from typing import BinaryIO

from inhouse.datasets.formats.row import LONGEST_LINE, TOO_LONG, Record, Row, refuse_file
from inhouse.datasets.formats.targets import COLUMNS, cell
from inhouse.tasks.spec import TaskSpec

_QUOTE = '"'


def columns(file: BinaryIO) -> Sequence[str]:
    """The header. Raises Invalid when it is not UTF-8."""
    with _text(file) as text:
        try:
            names = [name.strip() for name in next(_reader(_Lines(text)), [])]
        except csv.Error as error:
            raise refuse_file(f"it is not CSV: {error}") from None
    if not all(_is_text(name) for name in names):
        raise refuse_file("it is not UTF-8")
    return names


def read(file: BinaryIO, _named: Mapping[str, str]) -> Iterator[Row]:
    """Undecodable bytes arrive as lone surrogates, so that only their own row is lost."""
    with _text(file) as text:
        lines = _Lines(text)
        reader = _reader(lines)
        header = [name.strip() for name in next(reader, [])]
        while True:
            line = lines.begin()
            try:
                values = next(reader)
            except StopIteration:
                return
            except _Skipped:
                yield Row(line=line, problem=TOO_LONG)
                continue
            except csv.Error as error:
                yield Row(line=line, problem=f"nothing can be read from here on: {error}")
                return
            if values:
                yield _row(line, header, values)


def write(file: BinaryIO, spec: TaskSpec, records: Iterable[Record]) -> dict[str, int]:
    """A header and a line for each record; spans and json stand as JSON in their column."""
    text = codecs.getwriter("utf-8")(file)
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(["text", COLUMNS[spec.kind][0], "weight", "quality", "group", "split"])
    for one in records:
        around = (repr(one.weight), repr(one.quality), one.group or "", one.split)
        writer.writerow([one.text, cell(spec, one.target), *around])
    return {}


class _text(TextIOWrapper):
    """Text over bytes that stay open when it is closed."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file, encoding="utf-8-sig", errors="surrogateescape", newline="")

    def close(self) -> None:
        if not self.closed:
            self.detach()


class _Skipped(csv.Error):
    """A line over the limit that was a record by itself."""


class _Lines:
    """Lines for a reader. One over the limit is not kept: where it lies in a quoted field, or
    leaves one open, nobody can say where the next record begins."""

    def __init__(self, text: TextIOWrapper) -> None:
        self._text = text
        self._number = self._first = 0

    def begin(self) -> int:
        """A record begins: the number of its first line."""
        self._first = self._number
        return self._number + 1

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LONGEST_LINE)
        if not line:
            raise StopIteration
        self._number += 1
        if len(line) < LONGEST_LINE or _ends(line):
            return line
        quotes = line.count(_QUOTE)
        while line and not _ends(line):
            line = self._text.readline(LONGEST_LINE)
            quotes += line.count(_QUOTE)
        is_whole = self._number == self._first + 1 and quotes % 2 == 0
        raise (_Skipped if is_whole else csv.Error)(TOO_LONG)


def _reader(lines: _Lines) -> Iterator[list[str]]:
    """A reader that takes a field as long as a line may be. The limit of the module is one for the
    whole process, so it is only ever raised."""
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_LINE))
    return csv.reader(lines, strict=False)


def _ends(line: str) -> bool:
    return line.endswith(("\n", "\r"))


def _row(line: int, header: list[str], values: list[str]) -> Row:
    if len(values) != len(header):
        return Row(line=line, problem=f"{len(values)} fields, the header has {len(header)}")
    if not all(_is_text(value) for value in values):
        return Row(line=line, problem="not UTF-8")
    return Row(line=line, fields=dict(zip(header, values, strict=True)))


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
