"""What is inside: the examples of a snapshot, the files of a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from inhouse.api.depends import Limit, PathId, PathTask, Reader, Wired
from inhouse.client.contents import ExamplePage, VersionFiles
from inhouse.datasets import browse
from inhouse.datasets.example import Split
from inhouse.datasets.snapshot import get
from inhouse.registry import retire, versions

router = APIRouter()


@router.get("/v1/datasets/{snapshot_id}/examples", tags=["datasets"])
def list_examples(
    snapshot_id: PathId,
    app: Wired,
    _: Reader,
    *,
    split: Split | None = None,
    label: Annotated[
        str | None, Query(max_length=256, description="Of a choice: with this label.")
    ] = None,
    after: Annotated[int, Query(ge=-1, le=2**31 - 1, description="Only those behind.")] = -1,
    limit: Limit = 50,
) -> ExamplePage:
    """The examples of a snapshot in its order."""
    with app.database.read() as unit:
        record = get(unit, snapshot_id)
        page = browse.examples(unit, record.id, split=split, label=label, after=after, limit=limit)
    return ExamplePage.model_validate(page)


@router.get("/v1/datasets/{snapshot_id}/sources", tags=["datasets"])
def count_sources(snapshot_id: PathId, app: Wired, _: Reader) -> dict[str, int]:
    """How many examples of a snapshot came from where."""
    with app.database.read() as unit:
        return browse.sources(unit, get(unit, snapshot_id).id)


@router.get("/v1/versions/{task}/{number}/files", tags=["versions"])
def show_files(
    task: PathTask,
    number: Annotated[int, Path(ge=1, le=999_999_999)],
    app: Wired,
    _: Reader,
) -> VersionFiles:
    """What a version is made of, and which routes it stands on. Its files are not read."""
    with app.database.read() as unit:
        version = versions.get(unit, task, number)
        standing = retire.users(unit, app.catalog.all(), version.reference)
    entry = app.store.entry(version.artifact, version.store_version)
    plain = (
        None if entry.manifest is None else entry.manifest.model_dump(mode="json", by_alias=True)
    )
    return VersionFiles(
        reference=version.reference,
        manifest=plain,
        problem=entry.problem,
        quarantined=entry.quarantined,
        bytes=entry.bytes,
        standing=standing,
    )
