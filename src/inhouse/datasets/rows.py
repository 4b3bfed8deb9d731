"""The rows of a file in any format, one at a time; a bad one stops nothing."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from inhouse.datasets.formats.choose import check_file, load, opened
from inhouse.datasets.formats.row import Row, refuse_file


def columns_of(path: Path, name: str) -> list[str]:
    """The columns that rows of the file may have, in the format of that name.

    Raises NotFound for a missing file, Invalid (``import-format``) for one that is not what it is
    taken for.
    """
    check_file(path)
    try:
        with opened(path) as file:
            return list(load(name).columns(file))
    except (EOFError, zlib.error, OSError) as error:
        raise refuse_file(str(error)) from None


def read_rows(path: Path, name: str, named: Mapping[str, str]) -> Iterator[Row]:
    """The rows of a file. ``named``: columns that the caller gave, for formats that have no names
    for them. Where a packed file is damaged the rows end with one that says so."""
    line = 0
    with opened(path) as file:
        try:
            for row in load(name).read(file, named):
                line = row.line
                yield row
        except (EOFError, zlib.error, OSError) as error:
            yield Row(line=line + 1, problem=f"nothing can be read from here on: {error}")
