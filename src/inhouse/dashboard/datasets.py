"""``/datasets``: snapshots, what they hold, and building and using them."""

from __future__ import annotations

from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.core.errors import Invalid
from inhouse.dashboard import datasets_view as view
from inhouse.dashboard.recipe_forms import recipe_forms
from inhouse.dashboard.shell import Operating, Reading, whole_number
from inhouse.dashboard.tasks_view import brief, pieces
from inhouse.datasets import browse
from inhouse.datasets.arrange import BuildSettings
from inhouse.datasets.card import make_card
from inhouse.datasets.diff import compare
from inhouse.datasets.snapshot import (
    SnapshotRecord,
    build_unlocked,
    get,
    list_snapshots,
)
from inhouse.registry import versions
from inhouse.training import runs

router = APIRouter()

_PAGE: Final = 20
_RUNS: Final = 200


@router.get("/datasets")
def show_all(page: Reading) -> Response:
    """Snapshots, newest first."""
    task = page.request.query_params.get("task") or None
    with page.app.database.read() as unit:
        found = list_snapshots(unit, task)
    return page.render(
        "datasets/list.html",
        title="Datasets",
        nav="datasets",
        snapshots=found,
        task=task,
        specs=page.app.catalog.all(),
        view=view,
    )


@router.post("/datasets")
def build_one(page: Operating) -> Response:
    """Freeze the examples of a task as they are now."""
    app = page.app
    spec, at = app.catalog.get(page.sent.get("task", "")), app.clock.now()
    made = build_unlocked(app.database, spec, settings=BuildSettings(), at=at)
    word = "built" if made.created_at == at else "was there already: nothing new to learn from"
    return page.redirect(f"/datasets/{made.id}", toast=f"Snapshot {made.short_hash} {word}")


@router.get("/datasets/{snapshot_id}")
def show(snapshot_id: str, page: Reading) -> Response:
    """One snapshot: its card, its examples, what was made of it."""
    app, query = page.app, page.request.query_params
    with app.database.read() as unit:
        record = get(unit, snapshot_id)
        chosen = _chosen(dict(query))
        examples = browse.examples(unit, record.id, limit=_PAGE, **chosen)
        card = make_card(unit, record)
        others = [one for one in list_snapshots(unit, record.task) if one.id != record.id]
        used = [r for r in runs.list_runs(unit, task=record.task, limit=_RUNS) if _of(r, record)]
        made = [v for v in versions.list_versions(unit, record.task) if v.snapshot_id == record.id]
    specs = {spec.name: spec for spec in app.catalog.all()}
    spec = specs.get(record.task)
    return page.render(
        "datasets/show.html",
        title=f"{record.task} {record.short_hash}",
        nav="datasets",
        snapshot=record,
        spec=spec,
        is_current=spec is not None and spec.revision == record.task_revision,
        examples=examples,
        chosen=chosen,
        card=card,
        sources=card.sources,
        others=others,
        runs=used,
        versions=made,
        recipes=recipe_forms(spec),
        brief=brief,
        cut=lambda text, target: pieces(text, target.get("spans", ()), spec.labels if spec else ()),
        view=view,
    )


@router.get("/datasets/{snapshot_id}/diff")
def choose_other(snapshot_id: str, page: Reading) -> Response:
    """From the form of a snapshot's page to what changed since the chosen one."""
    return page.redirect(f"/datasets/{page.request.query_params.get('before')}/diff/{snapshot_id}")


@router.get("/datasets/{before_id}/diff/{after_id}")
def show_changes(before_id: str, after_id: str, page: Reading) -> Response:
    """What changed from one snapshot to another."""
    query = page.request.query_params
    what, after = query.get("what") or None, _place(query.get("after", ""))
    with page.app.database.read() as unit:
        old, new = get(unit, before_id), get(unit, after_id)
        found = compare(unit, old, new, what=what, start=after + 1, limit=_PAGE)
    return page.render(
        "datasets/diff.html",
        title=f"{found.after.task} {found.before.short_hash} to {found.after.short_hash}",
        nav="datasets",
        diff=found,
        what=what,
        after=after,
        following=after + _PAGE if after + 1 + _PAGE < found.matching else None,
        brief=brief,
        view=view,
    )


def _of(run: runs.Run, record: SnapshotRecord) -> bool:
    return run.snapshot_id == record.id


def _chosen(query: dict[str, str]) -> dict[str, Any]:
    """Which examples to show, from the address."""
    split = query.get("split") or None
    if split is not None and split not in view.SPLITS:
        raise Invalid(f"there is no split {split!r}", code="split", hint="train, valid or test")
    return {
        "split": split,
        "label": query.get("label") or None,
        "after": _place(query.get("after", "")),
    }


def _place(text: str) -> int:
    """The place behind which a page begins; -1 for the first one."""
    found = whole_number(text)
    return -1 if found is None else found
