"""Plans, and questions of experiments, as they are declared; plans as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import ValidationError

from inhouse.core.errors import Invalid
from inhouse.rollout.findings import MOST_DAYS, Question, Unanswerable
from inhouse.rollout.plan import Metric, Plan
from inhouse.rollout.trial import Measure
from inhouse.settings import FILE_NAME, RolloutSettings, Settings
from inhouse.settings.file import place_of

_BP_OF_PERCENT = 100
_DAY_S = 86_400.0
_METRICS = ", ".join(Measure)


def plan_of(settings: RolloutSettings, **overrides: Any) -> Plan:
    """The plan that ``[tasks.<name>.rollout]`` declares; ``overrides`` are fields of ``Plan``. A
    judge is declared for experiments too: where a rollout draws no calls, it has none.

    Raises Invalid (``rollout-plan``) for one that cannot be carried out.
    """
    fields = {
        "steps_bp": tuple(round(step * _BP_OF_PERCENT) for step in settings.steps),
        "margin": settings.margin,
        "first_outcomes": settings.first_calls,
        "step_outcomes": settings.step_calls,
        "dwell_s": settings.dwell_s,
        "horizon": settings.horizon,
        "time_limit_s": settings.time_limit_s,
        "min_success": settings.min_success or None,
        "max_p95_s": settings.max_p95_s or None,
        "min_score": settings.min_score or None,
        "guardrails": tuple(map(Metric, settings.guardrails)),
        "observed": tuple(map(Metric, settings.observed)),
        "promote_on": tuple(map(Metric, settings.promote_on)),
        "bake_s": settings.bake_s,
        "hold_back_bp": round(settings.hold_back * _BP_OF_PERCENT),
        "shadow_inputs": settings.shadow_inputs,
        "audit": settings.audit,
        "judge": settings.judge if settings.audit else "",
    }
    return Plan(**{**fields, **overrides})


def question_of(
    task: str,
    settings: RolloutSettings,
    *,
    metric: str,
    weight: float,
    days: float | None = None,
    audit: float | None = None,
    judge: str | None = None,
    **asked: Any,
) -> Question:
    """The question of an experiment. ``weight``: per cent of the units that get B; ``asked``: the
    other fields of ``Question``. What is None is as ``[tasks.<name>.rollout]`` declares it; the
    audit only where the metric counts labels.

    Raises Unanswerable (``experiment-plan``) for one that cannot be answered.
    """
    if metric not in list(Measure):
        raise Unanswerable({"metric": f"{metric!r} is not compared, but {_METRICS} are"})
    measure = Measure(metric)
    share = audit
    if share is None:
        share = settings.audit if measure.of_labels else 0.0
    declared_judge = settings.judge if share else ""
    return Question(
        task=task,
        metric=measure,
        weight_bp=round(weight * _BP_OF_PERCENT),
        days=min(MOST_DAYS, settings.time_limit_s / _DAY_S) if days is None else days,
        audit=share,
        judge=declared_judge if judge is None else judge,
        **asked,
    )


def adjusted(settings: RolloutSettings, changes: Mapping[str, Any]) -> RolloutSettings:
    """What a task declares, with some of it changed for one rollout.

    Raises Invalid (``rollout-plan``) for a value that the settings would not take, and for a judge
    of no calls.
    """
    try:
        found = RolloutSettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise Invalid(
            f"{name}: {first['msg']}", code="rollout-plan", hint="see [tasks.<name>.rollout]"
        ) from None
    if changes.get("judge") and not found.audit:
        message = "a judge needs a share of calls to audit"
        raise Invalid(message, code="rollout-plan", hint="say audit too")
    return found


def check_plans(settings: Settings) -> None:
    """Raise Invalid (``settings``) for a declared rollout that could not be carried out, with the
    file and line of its table."""
    for name, task in settings.tasks.items():
        try:
            plan_of(task.rollout)
        except Invalid as error:
            where = place_of(settings.folder / FILE_NAME, ("tasks", name, "rollout"))
            message = f"{where}: tasks.{name}.rollout: {error.message}"
            raise Invalid(message, code="settings", hint=error.hint) from None


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan as it is stored: every field by its name."""
    stored: dict[str, Any] = msgspec.to_builtins(plan)
    return stored


def from_json(stored: Any) -> Plan:
    """The plan that was stored, exactly."""
    return msgspec.convert(stored, Plan)
