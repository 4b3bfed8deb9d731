"""Files that a command writes: they appear whole, or not at all; and how far a command is."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

STANDARD = Path("-")


@contextmanager
def written(path: Path) -> Iterator[BinaryIO]:
    """A new file that takes the place of ``path`` when the block ends; ``-`` is standard output.

    When the block raises, what was there stays. Raises Invalid (``out-file``) for a path that
    cannot be written.
    """
    from inhouse.core.errors import Invalid

    if path == STANDARD:
        with TemporaryFile() as file:
            yield file
            file.seek(0)
            shutil.copyfileobj(file, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    try:
        with _replacing(path) as file:
            yield file
    except OSError as error:
        raise Invalid(f"{path}: {error.strerror or error}", code="out-file") from None


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    import os

    from inhouse.core.ids import new_id
    from inhouse.store.durable import sync

    partial = path.with_name(f".{path.name}.{new_id()}.partial")
    try:
        with partial.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        sync(path.parent)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def counting(noun: str) -> Iterator[Callable[[int], None]]:
    """Shows a growing count of things in a terminal, and nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{noun}: 0") as status:
        yield lambda count: status.update(f"{noun}: {count}")
