"""``/v1/datasets``: what there is to learn from, brought in, frozen, and taken out again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile
from typing import Annotated, Any, BinaryIO, Literal

from fastapi import APIRouter, Query
from starlette.responses import StreamingResponse

from inhouse.api.depends import Limit, OfTask, Operator, PathId, Reader, Wired
from inhouse.client.control import Dataset
from inhouse.client.datasets import (
    BadRow,
    DatasetBuild,
    DatasetCard,
    DatasetDiff,
    DatasetImport,
    DatasetImported,
    FileFormat,
    SplitName,
)
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.card import make_card
from inhouse.datasets.card_words import card_markdown
from inhouse.datasets.diff import compare
from inhouse.datasets.export import write_snapshot
from inhouse.datasets.formats.choose import ENDINGS, MEDIA_TYPES
from inhouse.datasets.ingest import import_file
from inhouse.datasets.near import NearMethod, NearSettings
from inhouse.datasets.snapshot import build_unlocked, get, list_snapshots

router = APIRouter(tags=["datasets"])
What = Literal["added", "removed", "target", "input", "split", "weight", "quality"]
_NAMED = 100
_PIECE = 1 << 16
_FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The examples in their order, as a file.",
        "content": {
            kind.partition(";")[0]: {"schema": {"type": "string", "format": "binary"}}
            for kind in MEDIA_TYPES.values()
        },
    }
}


@router.get("/v1/datasets")
def list_datasets(app: Wired, _: Reader, *, task: OfTask = None) -> list[Dataset]:
    """Dataset snapshots, newest first."""
    with app.database.read() as unit:
        return [Dataset.model_validate(record) for record in list_snapshots(unit, task)]


@router.post("/v1/datasets")
def build_dataset(request: DatasetBuild, app: Wired, _: Operator) -> Dataset:
    """Freeze the examples of a task. The same examples give the same snapshot again."""
    spec = app.catalog.get(request.task)
    asked = request.near
    near = NearSettings(method=NearMethod(asked.method), words=asked.words, meaning=asked.meaning)
    built = build_unlocked(
        app.database,
        spec,
        settings=BuildSettings(since=request.since, until=request.until, near=near),
        at=app.clock.now(),
        open_encoder=app.open_encoder,
    )
    return Dataset.model_validate(built)


@router.get("/v1/datasets/{snapshot_id}")
def show_dataset(snapshot_id: PathId, app: Wired, _: Reader) -> Dataset:
    """One dataset snapshot."""
    with app.database.read() as unit:
        return Dataset.model_validate(get(unit, snapshot_id))


@router.get("/v1/datasets/{snapshot_id}/card")
def show_card(snapshot_id: PathId, app: Wired, _: Reader) -> DatasetCard:
    """The data card of a snapshot, as fields and as Markdown."""
    with app.database.read() as unit:
        card = make_card(unit, get(unit, snapshot_id))
    return DatasetCard.model_validate({**asdict(card), "markdown": card_markdown(card)})


@router.get("/v1/datasets/{snapshot_id}/diff/{other_id}")
def compare_datasets(
    snapshot_id: PathId,
    other_id: PathId,
    app: Wired,
    _: Reader,
    *,
    what: Annotated[What | None, Query(description="Only changes of this.")] = None,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="Only those behind.")] = -1,
    limit: Limit = 50,
) -> DatasetDiff:
    """What changed from one snapshot of a task to another."""
    with app.database.read() as unit:
        old, new = get(unit, snapshot_id), get(unit, other_id)
        found = compare(unit, old, new, what=what, start=after + 1, limit=limit)
    last = after + len(found.changes)
    shown = asdict(found)
    return DatasetDiff.model_validate(
        {
            **shown,
            "items": shown["changes"],
            "next": last if last + 1 < found.matching else None,
            "total": found.matching,
        }
    )


@router.post("/v1/datasets/import")
def import_examples(request: DatasetImport, app: Wired, _: Operator) -> DatasetImported:
    """Add labelled examples. Bad rows are named and left out; repeating an import adds nothing."""
    spec = app.catalog.get(request.task)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "content"
        path.write_bytes(request.content.encode())
        report = import_file(
            app.database,
            spec,
            path,
            clock=app.clock,
            columns={str(role): name for role, name in request.columns.items()},
            file_format=request.format,
            strict=request.strict,
            source=request.source,
        )
    return DatasetImported(
        read=report.read,
        added=report.added,
        duplicate=report.duplicate,
        bad=len(report.bad),
        named=[BadRow(line=line, reason=reason) for line, reason in report.bad[:_NAMED]],
        unread=dict(report.unread),
    )


@router.get("/v1/datasets/{snapshot_id}/export", response_class=StreamingResponse, responses=_FILES)
def export_dataset(
    snapshot_id: PathId,
    app: Wired,
    _: Reader,
    *,
    file_format: Annotated[FileFormat, Query(alias="format")] = "jsonl",
    split: Annotated[SplitName | None, Query(description="Only this split.")] = None,
) -> StreamingResponse:
    """The examples of a snapshot as a file. The task must be declared as it was then."""
    file = TemporaryFile()  # noqa: SIM115 - it is closed when everything is sent
    try:
        with app.database.read() as unit:
            found = get(unit, snapshot_id)
            spec = app.catalog.get(found.task)
            write_snapshot(unit, spec, found, file, file_format=file_format, split=split)
    except BaseException:
        file.close()
        raise
    name = f"{found.task}-{found.short_hash}.{ENDINGS[file_format]}"
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "content-length": str(file.tell()),
    }
    return StreamingResponse(_sent(file), media_type=MEDIA_TYPES[file_format], headers=headers)


def _sent(file: BinaryIO) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while piece := file.read(_PIECE):
            yield piece
