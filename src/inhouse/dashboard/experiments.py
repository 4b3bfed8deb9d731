"""``/experiments``: two references of a task compared at a fixed split, look by look."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter
from starlette.responses import Response

from inhouse.core.errors import InhouseError
from inhouse.dashboard import experiments_view as view
from inhouse.dashboard.candidates import candidates
from inhouse.dashboard.overview_view import version_path
from inhouse.dashboard.rollouts_words import evidence
from inhouse.dashboard.shell import Operating, Page, Reading
from inhouse.registry import routes
from inhouse.rollout import experiment_records as records
from inhouse.rollout import experiments
from inhouse.rollout.conduct import ACTOR
from inhouse.rollout.findings import ExperimentState, Findings, mean_words
from inhouse.rollout.owner import owner_of

router = APIRouter()

_SHOWN: Final = 50
_BADGES: Final = {
    ExperimentState.RUNNING: ("live", "Running"),
    ExperimentState.CONCLUDED: ("good", "Concluded"),
    ExperimentState.INCONCLUSIVE: ("warn", "Inconclusive"),
    ExperimentState.STOPPED: ("held", "Stopped"),
    ExperimentState.ABORTED: ("failed", "Aborted"),
}


@router.get("/experiments")
def show_all(page: Reading) -> Response:
    """Experiments: those that run first, then the newest."""
    task = page.request.query_params.get("task") or None
    with page.app.database.read() as unit:
        found = records.list_experiments(unit, task, _SHOWN, running_first=True)
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


@router.get("/experiments/new")
def show_form(page: Reading) -> Response:
    """The form that starts an experiment."""
    return _form(page, page.request.query_params)


@router.post("/experiments/new")
def start(page: Operating) -> Response:
    """Split a task between two references, or only work out the horizon that takes."""
    app, form = page.app, page.sent
    try:
        spec = app.catalog.get(form.get("task", ""))
        declared = app.settings.tasks[spec.name].rollout
        if form.get("act") == "plan":
            needed = view.horizon(spec.name, declared, form)
            return _form(page, {**form, "horizon": str(needed)})
        question, reason = view.question(spec.name, declared, form), page.reason()
        app.backends.check(question.a, question.b, question.judge)
        with app.database.write() as unit:
            begun = experiments.start(
                unit, spec, question, actor=page.actor, reason=reason, at=app.clock.now()
            )
    except InhouseError as error:
        return _form(page, form, error)
    app.routes.refresh([spec.name])
    return page.redirect(
        f"/experiments/{begun.id}", toast=f"The experiment of {spec.name} has begun"
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
        evidence=evidence,
        ended_by=ended_by,
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


def _form(page: Page, sent: Mapping[str, str], error: InhouseError | None = None) -> Response:
    app, specs = page.app, page.app.catalog.all()
    named = sent.get("task", "") or (specs[0].name if len(specs) == 1 else "")
    spec = next((one for one in specs if one.name == named), None)
    if named and spec is None and error is None:
        app.catalog.get(named)
    context: dict[str, Any] = {}
    if spec is not None:
        declared = app.settings.tasks[spec.name].rollout
        with app.database.read() as unit:
            route = routes.current(unit, spec.name) or routes.implicit(spec.name, spec.chain)
            known = candidates(unit, spec)
            context["owner"] = owner_of(unit, spec.name)
        first = [route.incumbent] if route.incumbent else []
        general = [name for one in specs for name in one.chain]
        context |= {
            "incumbent": route.incumbent,
            "arms": [(name, name) for name in dict.fromkeys([*first, *known])],
            "judges": view.judges(declared, general),
            "declared": declared,
            "values": view.written(sent, declared),
        }
    faults = view.faults_of(error)
    return page.render(
        "experiments/new.html",
        title="Start an experiment",
        nav="experiments",
        status=200 if error is None else error.status,
        specs=specs,
        spec=spec,
        error=None if faults else error,
        faults=faults,
        planning=sent.get("act") == "plan",
        view=view,
        **context,
    )


def answer(found: Findings) -> str:
    """What an experiment found, in a sentence."""
    if found.recommendation:
        return found.recommendation
    if found.ended_by is not None:
        return f"It ended {ended_by(found)}: {found.why}."
    return "No look has found a winner yet."


def ended_by(found: Findings) -> str:
    """Who ended an experiment, after "it ended"."""
    return "by itself" if found.ended_by == ACTOR else f"by {found.ended_by}"
