"""``/versions``: own models, where they came from, how good they are, whom they serve."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path
from starlette.responses import Response

from inhouse.core.errors import NotFound
from inhouse.core.states import VersionStatus
from inhouse.dashboard import versions_view as view
from inhouse.dashboard.evaluations import look, shown
from inhouse.dashboard.evaluations_view import VERDICTS, main_figure, standings
from inhouse.dashboard.shell import Operating, Page, Reading
from inhouse.dashboard.training_view import whole
from inhouse.datasets import snapshot
from inhouse.datasets.snapshot import SnapshotRecord
from inhouse.db.unit import ReadUnit
from inhouse.evaluation import records
from inhouse.evaluation.records import EvaluationRecord
from inhouse.monitoring.lineage import of_version
from inhouse.registry import retire, routes, versions
from inhouse.registry.routes import Route
from inhouse.registry.versions import Version
from inhouse.rollout import records as rollouts
from inhouse.training import runs
from inhouse.training.runs import Run

router = APIRouter()

Number = Annotated[int, Path(ge=1, le=999_999_999)]
_HISTORY: Final = 500
_EVALUATIONS: Final = 10
_LEARNED: Final = 5
_ROLLOUTS: Final = 50


@router.get("/versions")
def show_all(page: Reading) -> Response:
    """Versions, newest first, with their scores and what they answer."""
    app, task = page.app, page.request.query_params.get("task") or None
    with app.database.read() as unit:
        found = versions.list_versions(unit, task)
        moved = {route.task: route for route in routes.all_current(unit)}
        judged: dict[str | None, EvaluationRecord] = {}
        for record in records.list_evaluations(unit, task, limit=len(found) * 2 + _EVALUATIONS):
            judged.setdefault(record.version_id, record)
    rows = [
        {"version": version, "served": _served(version, moved), **_score(judged.get(version.id))}
        for version in found
    ]
    return page.render(
        "versions/list.html",
        title="Versions",
        nav="versions",
        rows=rows,
        task=task,
        badges=view.BADGES,
        specs=app.catalog.all(),
    )


@router.get("/versions/{task}/{number}")
def show(task: str, number: Number, page: Reading) -> Response:
    """One version."""
    app = page.app
    with app.database.read() as unit:
        version = versions.get(unit, task, number)
        route, history = _routes(page, unit, task)
        standing = retire.users(unit, app.catalog.all(), version.reference)
        run, frozen = _origins(unit, version)
        lineage = of_version(unit, task, number, limit=_LEARNED)
        judged = records.list_evaluations(unit, task, version.id, limit=_EVALUATIONS)
        ramps = rollouts.list_rollouts(unit, task, _ROLLOUTS)
        record = judged[0] if judged else None
        looked = {} if record is None else look(app, unit, record)
    entry = app.store.entry(version.artifact, version.store_version)
    since = view.serving_since(version, history)
    return page.render(
        "versions/show.html",
        title=version.reference,
        nav="versions",
        version=version,
        state=view.BADGES[version.status],
        sentence=view.sentence(version, route, since),
        route=route,
        served=view.served_percent(version, route),
        standing=standing,
        story=view.story(version, history[::-1]),
        rollouts=[one for one in ramps if one.candidate == version.reference],
        why_no_rollout=view.why_no_rollout(version, route, ramps),
        why_not=view.why_not_archived(version, standing),
        run=run,
        snapshot=frozen,
        lineage=lineage,
        entry=entry,
        facts=view.facts({} if entry.manifest is None else dict(entry.manifest.metadata)),
        record=record,
        evaluations=judged,
        whole=whole,
        **({} if record is None else shown(record)),
        **looked,
    )


@router.post("/versions/{task}/{number}/archive")
def archive(task: str, number: Number, page: Operating) -> Response:
    """Put a version away for good; its files may then be pruned."""
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        version = retire.archive(
            unit,
            app.catalog.all(),
            task,
            number,
            by=page.actor,
            why=reason,
            at=app.clock.now(),
        )
    return page.redirect(f"/versions/{task}/{number}", toast=f"{version.reference} is archived")


@router.post("/versions/{task}/{number}/restore")
def restore(task: str, number: Number, page: Operating) -> Response:
    """Make a rejected version a candidate again."""
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        version = retire.restore(unit, task, number, by=page.actor, why=reason, at=app.clock.now())
    toast = f"{version.reference} is a {VersionStatus.CANDIDATE} again"
    return page.redirect(f"/versions/{task}/{number}", toast=toast)


def _routes(page: Page, unit: ReadUnit, task: str) -> tuple[Route, list[Route]]:
    """The route in force, and its revisions, the newest first."""
    history = routes.history(unit, task, _HISTORY)
    chain = next((spec.chain for spec in page.app.catalog.all() if spec.name == task), ())
    return (history[0] if history else routes.implicit(task, chain)), history


def _origins(unit: ReadUnit, version: Version) -> tuple[Run | None, SnapshotRecord | None]:
    """The run and the snapshot that a version came from, as far as they are still there."""
    run, frozen = None, None
    try:
        run = None if version.run_id is None else runs.get(unit, version.run_id)
        if version.snapshot_id is not None:
            frozen = snapshot.get(unit, version.snapshot_id, version.task)
    except NotFound:
        pass
    return run, frozen


def _score(record: EvaluationRecord | None) -> dict[str, Any]:
    found = [] if record is None else standings(record)
    figure = found[0].figures.get(main_figure(found)) if found else None
    verdict = None if record is None else VERDICTS.get(record.verdict or "")
    return {"record": record, "figure": figure, "verdict": verdict}


def _served(version: Version, moved: dict[str, Route]) -> float:
    route = moved.get(version.task)
    return 0.0 if route is None else view.served_percent(version, route)
