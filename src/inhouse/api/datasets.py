"""``/v1/datasets``: what there is to learn from, frozen."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import OfTask, Operator, PathId, Reader, Wired
from inhouse.client.control import Dataset, DatasetBuild
from inhouse.datasets.snapshot import BuildSettings, build, get, list_snapshots

router = APIRouter(tags=["datasets"])


@router.get("/v1/datasets")
def list_datasets(app: Wired, _: Reader, *, task: OfTask = None) -> list[Dataset]:
    """Dataset snapshots, newest first."""
    with app.database.read() as unit:
        return [Dataset.model_validate(record) for record in list_snapshots(unit, task)]


@router.post("/v1/datasets")
def build_dataset(request: DatasetBuild, app: Wired, _: Operator) -> Dataset:
    """Freeze the examples of a task. The same examples give the same snapshot again."""
    spec = app.catalog.get(request.task)
    settings = BuildSettings(since=request.since, until=request.until)
    with app.database.write() as unit:
        return Dataset.model_validate(build(unit, spec, settings=settings, at=app.clock.now()))


@router.get("/v1/datasets/{snapshot_id}")
def show_dataset(snapshot_id: PathId, app: Wired, _: Reader) -> Dataset:
    """One dataset snapshot."""
    with app.database.read() as unit:
        return Dataset.model_validate(get(unit, snapshot_id))
