"""A task, plans and the lengths of simulated runs for tests of rollouts."""

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
SHORTER: Final = {
    "sticky-users": 3000,
    "named-units": 3000,
    "split-right": 3000,
    "as-fast": 3000,
    "thresholds": 2000,
}
"""Requests after which runs of these scenarios end, where there is seldom a verdict before 20,000:
a false verdict until then is one too many as well."""


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
