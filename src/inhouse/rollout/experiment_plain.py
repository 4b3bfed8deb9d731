"""An experiment as people and programs see it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, Final

from inhouse.rollout.experiment_records import ExperimentRecord

_WITHHELD: Final = ("question", "findings", "start")


def plain(experiment: ExperimentRecord) -> dict[str, Any]:
    """An experiment and what was found, by the names of their fields."""
    asked, found = asdict(experiment.question), asdict(experiment.findings)
    fields = {name: getattr(experiment, name) for name in ExperimentRecord.__slots__}
    shown = {name: value for name, value in fields.items() if name not in _WITHHELD}
    arms = zip(("a", "b"), found["counts"], found["means"], found["harm"], strict=True)
    return {
        **shown,
        **asked,
        **{
            arm: {"reference": asked[arm], "outcomes": count, "mean": mean, "harm": harm}
            for arm, count, mean, harm in arms
        },
        "outcomes": experiment.findings.outcomes,
        "taken": list(found["looks"]),
        **{name: found[name] for name in ("by_user", "mismatch", "winner", "recommendation")},
        **{name: found[name] for name in ("ended_by", "why")},
    }
