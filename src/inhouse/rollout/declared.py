"""Plans as they are declared, and as they are stored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import ValidationError

from inhouse.core.errors import Invalid
from inhouse.rollout.plan import Metric, Plan
from inhouse.settings import RolloutSettings

_BP_OF_PERCENT = 100


def plan_of(settings: RolloutSettings, **overrides: Any) -> Plan:
    """The plan that ``[tasks.<name>.rollout]`` declares; ``overrides`` are fields of ``Plan``.

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
        "bake_s": settings.bake_s,
        "hold_back_bp": round(settings.hold_back * _BP_OF_PERCENT),
        "shadow_inputs": settings.shadow_inputs,
        "audit": settings.audit,
        "judge": settings.judge,
    }
    return Plan(**{**fields, **overrides})


def adjusted(settings: RolloutSettings, changes: Mapping[str, Any]) -> RolloutSettings:
    """What a task declares, with some of it changed for one rollout.

    Raises Invalid (``rollout-plan``) for a value that the settings would not take.
    """
    try:
        return RolloutSettings.model_validate({**settings.model_dump(), **changes})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise Invalid(
            f"{name}: {first['msg']}", code="rollout-plan", hint="see [tasks.<name>.rollout]"
        ) from None


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan as it is stored: every field by its name."""
    stored: dict[str, Any] = msgspec.to_builtins(plan)
    return stored


def from_json(stored: Any) -> Plan:
    """The plan that was stored, exactly."""
    return msgspec.convert(stored, Plan)
