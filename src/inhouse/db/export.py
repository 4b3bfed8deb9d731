"""Whole tables as JSON Lines in a folder, with a manifest that says what must be there."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Table, select

from inhouse.core.errors import Conflict, Invalid
from inhouse.core.hashing import canonical_json
from inhouse.core.ids import new_id
from inhouse.db.unit import Database

MANIFEST = "manifest.json"
FORMAT = "inhouse.export.v1"
_BATCH = 1000


def export_tables(
    database: Database,
    tables: Mapping[str, Table],
    folder: Path,
    *,
    beside: Mapping[str, Iterable[Any]],
    about: Mapping[str, Any],
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Write ``<name>.jsonl`` for every table and for everything ``beside`` them, and the manifest.

    All of it is one view of the database. A line holds a row's columns; columns of JSON hold JSON,
    times are RFC 3339 in UTC. The manifest, which is returned, is ``about`` with ``format`` and, by
    file, rows, bytes and SHA-256. The folder appears when everything is written; before, and when
    it fails, there is nothing. ``progress`` is told the rows written so far. Raises
    Conflict (``export-folder``) when the folder holds something, Invalid (``export-folder``) when
    it cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(
            f"{folder} is there already and not empty",
            code="export-folder",
            hint="name a folder that does not exist yet",
        )
    partial = folder.with_name(f".{folder.name}.{new_id()}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        partial.mkdir()
        manifest = _fill(database, tables, partial, beside, about, progress)
        partial.replace(folder)
    except OSError as error:
        raise Invalid(f"{folder}: {error.strerror or error}", code="export-folder") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def _fill(
    database: Database,
    tables: Mapping[str, Table],
    folder: Path,
    beside: Mapping[str, Iterable[Any]],
    about: Mapping[str, Any],
    progress: Callable[[int], None] | None,
) -> dict[str, Any]:
    written, told = {}, _told(progress)
    with database.read() as unit:
        if not database.is_sqlite:
            unit.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        for name, table in tables.items():
            statement = select(table).order_by(*table.primary_key.columns)
            found = unit.execute(statement, execution_options={"yield_per": _BATCH})
            rows = (dict(row._mapping) for row in found)
            written[f"{name}.jsonl"] = _write(folder / f"{name}.jsonl", map(told, rows))
    for name, values in beside.items():
        written[f"{name}.jsonl"] = _write(folder / f"{name}.jsonl", values)
    manifest = {"format": FORMAT, **about, "files": written}
    content = msgspec.json.format(canonical_json(manifest), indent=2) + b"\n"
    with (folder / MANIFEST).open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return manifest


def _told(progress: Callable[[int], None] | None) -> Callable[[Any], Any]:
    """Passes rows on; every 1,000 of them are told."""
    counted = itertools.count(1)

    def pass_on(row: Any) -> Any:
        count = next(counted)
        if progress is not None and count % _BATCH == 0:
            progress(count)
        return row

    return pass_on


def _write(path: Path, rows: Iterable[Any]) -> dict[str, Any]:
    digest, count, size = hashlib.sha256(), 0, 0
    with path.open("xb") as file:
        for row in rows:
            line = canonical_json(row) + b"\n"
            file.write(line)
            digest.update(line)
            count, size = count + 1, size + len(line)
        file.flush()
        os.fsync(file.fileno())
    return {"rows": count, "bytes": size, "sha256": digest.hexdigest()}
