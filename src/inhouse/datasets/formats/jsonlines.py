"""JSON Lines: one object a line, UTF-8."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

import msgspec

from inhouse.datasets.formats.row import TOO_LONG, Record, Row, lines_of
from inhouse.datasets.formats.targets import COLUMNS
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskSpec

_BOM = b"\xef\xbb\xbf"
_PEEK = 100


def columns(file: BinaryIO) -> Sequence[str]:
    """The keys of the first 100 objects."""
    return list(dict.fromkeys(name for row in islice(read(file, {}), _PEEK) for name in row.fields))


def read(file: BinaryIO, _named: Mapping[str, str]) -> Iterator[Row]:
    """Empty lines are passed over."""
    for line, content in lines_of(file):
        if content is None:
            yield Row(line=line, problem=TOO_LONG)
            continue
        stripped = content.removeprefix(_BOM).strip(b" \t\r\n")
        if stripped:
            yield _row(line, stripped)


def write(file: BinaryIO, spec: TaskSpec, records: Iterable[Record]) -> dict[str, int]:
    """An object for each record: text, its target, weight, quality, group, split."""
    column = COLUMNS[spec.kind][0]
    for one in records:
        fields: dict[str, Any] = {"text": one.text, column: outputs.bare(spec, one.target)}
        fields |= {"weight": one.weight, "quality": one.quality}
        if one.group is not None:
            fields["group"] = one.group
        file.write(msgspec.json.encode({**fields, "split": one.split}) + b"\n")
    return {}


def _row(line: int, content: bytes) -> Row:
    try:
        fields = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Row(line=line, problem="not JSON")
    if not isinstance(fields, dict):
        return Row(line=line, problem="not a JSON object")
    return Row(line=line, fields=fields)
