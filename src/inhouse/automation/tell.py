"""How automation stands, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inhouse.automation.carry import Proposals, open_of
from inhouse.automation.records import ProposalRecord
from inhouse.automation.steps import Step, Verb
from inhouse.db.unit import ReadUnit
from inhouse.jobs.pause import Pause, paused
from inhouse.tasks.spec import TaskSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskAutomation:
    """A task: ``mode`` is off, ask or on; ``training`` and ``rollout`` say what is next and why;
    ``proposals`` wait for a person."""

    task: str
    mode: str
    training: str
    rollout: str
    proposals: tuple[ProposalRecord, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Automation:
    """All of it. ``paused``: who paused all background work, None while it goes on."""

    paused: Pause | None
    tasks: tuple[TaskAutomation, ...]


def tell(unit: ReadUnit, proposals: Proposals, specs: Sequence[TaskSpec]) -> Automation:
    """How it stands for these tasks."""
    return Automation(
        paused=paused(unit), tasks=tuple(_task(unit, proposals, spec) for spec in specs)
    )


def _task(unit: ReadUnit, proposals: Proposals, spec: TaskSpec) -> TaskAutomation:
    mode = proposals.declared(spec).rollout.automation
    if mode == "off":
        found = tuple(open_of(unit, spec.name))
        return TaskAutomation(
            task=spec.name, mode=mode, training="off", rollout="off", proposals=found
        )
    outlook = proposals.look(unit, spec)
    return TaskAutomation(
        task=spec.name,
        mode=mode,
        training=_words(outlook.training),
        rollout=_words(outlook.rollout),
        proposals=outlook.proposals,
    )


def _words(step: Step) -> str:
    match step.verb:
        case Verb.WAIT:
            return f"waits: {step.why}"
        case Verb.PROPOSE:
            return f"next: {step.why}"
        case Verb.REFUSE:
            return f"will not: {step.why}"
