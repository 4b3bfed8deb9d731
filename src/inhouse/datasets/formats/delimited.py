"""CSV with a header: RFC 4180, UTF-8, with or without a byte order mark."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from io import TextIOWrapper
from typing import BinaryIO

from inhouse.datasets.formats.row import LONGEST_LINE, Record, Row, refuse_file
from inhouse.datasets.formats.targets import COLUMNS, cell
from inhouse.tasks.spec import TaskSpec


def columns(file: BinaryIO) -> Sequence[str]:
    """The header. Raises Invalid when it is not UTF-8."""
    with _text(file) as text:
        try:
            names = [name.strip() for name in next(csv.reader(_lines(text)), [])]
        except csv.Error as error:
            raise refuse_file(f"it is not CSV: {error}") from None
    if not all(_is_text(name) for name in names):
        raise refuse_file("it is not UTF-8")
    return names


def read(file: BinaryIO, _named: Mapping[str, str]) -> Iterator[Row]:
    """Undecodable bytes arrive as lone surrogates, so that only their own row is lost."""
    with _text(file) as text:
        reader = csv.reader(_lines(text), strict=False)
        header = [name.strip() for name in next(reader, [])]
        while True:
            line = reader.line_num + 1
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield Row(line=line, problem=f"not CSV: {error}")
                continue
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


def _lines(text: TextIOWrapper) -> Iterator[str]:
    """Lines; one over the limit comes in parts, which are bad rows."""
    return iter(partial(text.readline, LONGEST_LINE), "")


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
