"""``/experiments``: two references of a task compared at a fixed split, look by look."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.dashboard.overview_view import version_path
from inhouse.dashboard.shell import Operating, Reading
from inhouse.rollout import experiment_records as records
from inhouse.rollout import experiments
from inhouse.rollout.findings import ExperimentState, Findings, mean_words

router = APIRouter()

_SHOWN: Final = 50
_BADGES: Final = {
    ExperimentState.RUNNING: ("live", "Running"),
    ExperimentState.CONCLUDED: ("good", "Concluded"),
    ExperimentState.STOPPED: ("held", "Stopped"),
    ExperimentState.ABORTED: ("failed", "Aborted"),
}


@router.get("/experiments")
def show_all(page: Reading) -> Response:
    """Experiments: those that run first, then the newest."""
    task = page.request.query_params.get("task") or None
    with page.app.database.read() as unit:
        found = records.list_experiments(unit, task, _SHOWN)
    found.sort(key=lambda one: one.is_over)
    return page.render(
        "experiments/list.html",
        title="Experiments",
        nav="experiments",
        rows=found,
        running=sum(not one.is_over for one in found),
        task=task,
        badges=_BADGES,
        answer=answer,
    )


@router.get("/experiments/{experiment_id}")
def show(experiment_id: str, page: Reading) -> Response:
    """One experiment: its arms, its looks, what it found."""
    with page.app.database.read() as unit:
        found = records.get(unit, experiment_id)
    return page.render(
        "experiments/show.html",
        title=f"{found.question.a} and {found.question.b}",
        nav="experiments",
        one=found,
        asked=found.question,
        findings=found.findings,
        badge=_BADGES[found.state],
        answer=answer(found.findings),
        mean_words=mean_words,
        version_path=version_path,
    )


@router.post("/experiments/{experiment_id}/stop")
def stop(experiment_id: str, page: Operating) -> Response:
    """End it; what answered before answers again."""
    app, reason = page.app, page.reason()
    with app.database.write() as unit:
        seen = records.get(unit, experiment_id, lock=True)
        spec, at = app.catalog.get(seen.task), app.clock.now()
        experiments.stop(unit, spec, seen, actor=page.actor, reason=reason, at=at)
    app.routes.refresh([spec.name])
    return page.redirect(f"/experiments/{experiment_id}", toast="The experiment has ended")


def answer(found: Findings) -> str:
    """What an experiment found, in a sentence."""
    if found.recommendation:
        return found.recommendation
    if found.ended_by is not None:
        return f"Ended by {found.ended_by}: {found.why}"
    return "No look has found a winner yet."
