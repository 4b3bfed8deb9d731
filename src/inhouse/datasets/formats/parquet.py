"""Parquet, through pyarrow: a column for each field, read in batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from inhouse.datasets.formats.row import Record, Row, refuse_file
from inhouse.datasets.formats.targets import COLUMNS, cell
from inhouse.tasks import outputs
from inhouse.tasks.spec import TaskKind, TaskSpec

_BATCH = 500
_GROUP = 10_000
_NO_TEXT = "not UTF-8"


def columns(file: BinaryIO) -> Sequence[str]:
    """The names of the schema."""
    names: list[str] = _open(file).schema_arrow.names
    return names


def read(file: BinaryIO, _named: Mapping[str, str]) -> Iterator[Row]:
    """Rows are counted from 1."""
    number = 0
    try:
        for batch in _open(file).iter_batches(batch_size=_BATCH):
            for fields in _rows(batch):
                number += 1
                yield Row(line=number, fields=fields or {}, problem=_NO_TEXT * (fields is None))
    except (pa.ArrowException, OSError, ValueError) as error:
        yield Row(line=number + 1, problem=f"nothing can be read from here on: {error}")


def write(file: BinaryIO, spec: TaskSpec, records: Iterable[Record]) -> dict[str, int]:
    """Spans and json stand as JSON in their column."""
    column, is_score = COLUMNS[spec.kind][0], spec.kind is TaskKind.SCORE
    schema = pa.schema(
        [
            ("text", pa.string()),
            (column, pa.float64() if is_score else pa.string()),
            ("weight", pa.float64()),
            ("quality", pa.float64()),
            ("group", pa.string()),
            ("split", pa.string()),
        ]
    )
    waiting = iter(records)
    with pq.ParquetWriter(file, schema) as writer:
        while chunk := list(islice(waiting, _GROUP)):
            rows = [_fields(spec, column, one) for one in chunk]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    return {}


def _rows(batch: Any) -> Iterator[dict[str, Any] | None]:
    """The rows of a batch; None for one whose text is not UTF-8."""
    for place in range(batch.num_rows):
        try:
            yield batch.slice(place, 1).to_pylist()[0]
        except UnicodeDecodeError:
            yield None


def _fields(spec: TaskSpec, column: str, one: Record) -> dict[str, Any]:
    is_score = spec.kind is TaskKind.SCORE
    return {
        "text": one.text,
        column: outputs.bare(spec, one.target) if is_score else cell(spec, one.target),
        "weight": one.weight,
        "quality": one.quality,
        "group": one.group,
        "split": one.split,
    }


def _open(file: BinaryIO) -> Any:
    try:
        return pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise refuse_file(f"it is not Parquet: {error}") from None
