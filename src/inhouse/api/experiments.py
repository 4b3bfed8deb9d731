"""``/v1/experiments``: two references of a task compared at a fixed split."""

from __future__ import annotations

from fastapi import APIRouter

from inhouse.api.depends import Limit, OfTask, Operator, PathId, Reader, Wired
from inhouse.client.experiments import Experiment, ExperimentStart, ExperimentStop
from inhouse.rollout import experiment_records as records
from inhouse.rollout import experiments
from inhouse.rollout.declared import question_of
from inhouse.rollout.experiment_plain import plain
from inhouse.rollout.experiment_records import ExperimentRecord

router = APIRouter(tags=["experiments"])


@router.get("/v1/experiments")
def list_experiments(
    app: Wired, _: Reader, *, task: OfTask = None, limit: Limit = 50
) -> list[Experiment]:
    """Experiments of one task or of all, newest first."""
    with app.database.read() as unit:
        found = records.list_experiments(unit, task, limit)
    return [_shown(experiment) for experiment in found]


@router.post("/v1/experiments", status_code=201)
def start_experiment(request: ExperimentStart, app: Wired, who: Operator) -> Experiment:
    """Split a task between two references until the horizon, or until one has won."""
    spec = app.catalog.get(request.task)
    asked = request.model_dump(exclude={"task", "reason"})
    question = question_of(spec.name, app.settings.tasks[spec.name].rollout, **asked)
    app.backends.check(question.a, question.b, question.judge)
    with app.database.write() as unit:
        begun = experiments.start(
            unit, spec, question, actor=who.actor, reason=request.reason, at=app.clock.now()
        )
    app.routes.refresh([spec.name])
    return _shown(begun)


@router.get("/v1/experiments/{experiment_id}")
def show_experiment(experiment_id: PathId, app: Wired, _: Reader) -> Experiment:
    """One experiment with its looks and what it has found."""
    with app.database.read() as unit:
        return _shown(records.get(unit, experiment_id))


@router.post("/v1/experiments/{experiment_id}/stop")
def stop_experiment(
    experiment_id: PathId, request: ExperimentStop, app: Wired, who: Operator
) -> Experiment:
    """End it before its verdict; what answered before answers again, at once."""
    with app.database.write() as unit:
        seen = records.get(unit, experiment_id, lock=True)
        spec, at = app.catalog.get(seen.task), app.clock.now()
        ended = experiments.stop(unit, spec, seen, actor=who.actor, reason=request.reason, at=at)
    app.routes.refresh([spec.name])
    return _shown(ended)


def _shown(experiment: ExperimentRecord) -> Experiment:
    return Experiment.model_validate(plain(experiment))
