"""A task and plans for tests of rollouts."""

from __future__ import annotations

from typing import Any, Final

from inhouse.rollout.plan import Metric, Plan
from inhouse.tasks.spec import TaskKind, TaskSpec

SPEC: Final = TaskSpec(
    name="tone",
    kind=TaskKind.CHOICE,
    description="",
    labels=("good", "bad"),
    prompt="{{ input }}",
    chain=("embedded/general",),
)


def quick_plan(**changes: Any) -> Plan:
    """A plan that waits for no time and watches success alone; ``changes`` are fields of it."""
    plan: dict[str, Any] = {
        "dwell_s": 0.0,
        "min_success": None,
        "max_p95_s": None,
        "guardrails": (Metric.SUCCESS,),
        **changes,
    }
    return Plan(**plan)
