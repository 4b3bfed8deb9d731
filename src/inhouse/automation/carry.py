"""A conclusion becomes a proposal; a proposal that is accepted becomes work. Each in one unit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inhouse.automation import facts, records
from inhouse.automation.records import ACTOR, ProposalRecord
from inhouse.automation.steps import ProposalState, Rules, Step, Verb, What, outdated
from inhouse.automation.when_to_roll_out import next_rollout, obstacle
from inhouse.automation.when_to_train import next_training
from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict
from inhouse.core.references import parse_reference
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.evaluation import run as evaluation
from inhouse.jobs import pause, queue
from inhouse.rollout import steer
from inhouse.rollout.declared import plan_of
from inhouse.settings import Settings, TaskSettings
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec

JOB: Final = "automation.train"
"""The job that builds a snapshot and asks for a training run: {proposal_id}."""
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """A task as automation sees it: what is next, what is proposed, and what of that holds no more,
    with the reason."""

    training: Step
    rollout: Step
    proposals: tuple[ProposalRecord, ...]
    outdated: tuple[tuple[ProposalRecord, str], ...]


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """What is proposed, decided and carried out. ``settings``: those in force."""

    catalog: Catalog
    clock: Clock
    settings: Callable[[], Settings]

    def declared(self, spec: TaskSpec) -> TaskSettings:
        """The settings of a task."""
        return self.settings().tasks[spec.name]

    def look(self, unit: ReadUnit, spec: TaskSpec) -> Outlook:
        """What is next for a task; nothing is changed."""
        declared, now = self.declared(spec), self.clock.now()
        rules = rules_of(declared)
        learning = facts.learning(unit, spec, declared.training.recipe, rules.counted)
        proposed = tuple(open_of(unit, spec.name))
        fates = ((one, _fate(unit, spec, one)) for one in proposed)
        return Outlook(
            training=next_training(learning, rules, now),
            rollout=next_rollout(facts.contest(unit, spec, now), rules),
            proposals=proposed,
            outdated=tuple((one, why) for one, why in fates if why),
        )

    def expire(self, unit: WriteUnit, outlook: Outlook) -> list[ProposalRecord]:
        """End the open proposals that hold no more."""
        at, state = self.clock.now(), ProposalState.EXPIRED
        return [
            records.move(unit, one, state, by=ACTOR, reason=why, at=at)
            for one, why in outlook.outdated
        ]

    def conclude(self, unit: WriteUnit, spec: TaskSpec, step: Step) -> list[ProposalRecord]:
        """Keep a conclusion: as an open proposal, or as a refusal; nothing for one that waits, or
        that was kept before. A newer version takes the place of older ones that are proposed.
        Returns what was added or changed."""
        if step.verb is Verb.WAIT:
            return []
        at, is_refused = self.clock.now(), step.verb is Verb.REFUSE
        state = ProposalState.DECLINED if is_refused else ProposalState.OPEN
        reason = step.why if is_refused else ""
        added = records.add(unit, spec.name, step, state=state, reason=reason, at=at)
        if added is None or is_refused or step.what is What.TRAIN:
            return [added] if added else []
        why, gone = f"{step.about} is newer", ProposalState.EXPIRED
        older = [
            records.move(unit, one, gone, by=ACTOR, reason=why, at=at)
            for one in open_of(unit, spec.name)
            if one.what is not What.TRAIN and one.about != step.about
        ]
        return [added, *older]

    def accept(
        self, unit: WriteUnit, proposal: ProposalRecord, *, actor: str, reason: str = ""
    ) -> ProposalRecord:
        """Carry an open proposal out.

        Raises Conflict: ``jobs-paused``, ``proposal-state`` (not open any more),
        ``proposal-outdated`` (what it was based on holds no more), ``rollout-blocked`` (something
        has the split or the route) and what else keeps a rollout from beginning; NotFound for a
        task that is declared no more.
        """
        pause.check(unit)
        spec = self.catalog.get(proposal.task)
        why = _fate(unit, spec, proposal) if proposal.state is ProposalState.OPEN else ""
        if why:
            raise Conflict(why, code="proposal-outdated", hint="`inhouse automation status`")
        at = self.clock.now()
        is_done = proposal.what is not What.TRAIN
        state = ProposalState.DONE if is_done else ProposalState.ACCEPTED
        taken = records.move(unit, proposal, state, by=actor, reason=reason, at=at)
        match proposal.what:
            case What.TRAIN:
                job = queue.enqueue(unit, JOB, {"proposal_id": taken.id}, at=at)
                return records.note(unit, taken, job_id=job.id)
            case What.EVALUATE:
                job = evaluation.request(unit, taken.about, clock=self.clock)
                return records.note(unit, taken, job_id=job.id)
            case What.ROLL_OUT:
                rollout_id = self._roll_out(unit, spec, taken, actor, reason or taken.why)
                return records.note(unit, taken, rollout_id=rollout_id)

    def decline(
        self, unit: WriteUnit, proposal: ProposalRecord, *, actor: str, reason: str
    ) -> ProposalRecord:
        """Not this one; it comes back with new evidence only. Raises Conflict (``proposal-state``)
        when it is not open."""
        state, at = ProposalState.DECLINED, self.clock.now()
        return records.move(unit, proposal, state, by=actor, reason=reason, at=at)

    def _roll_out(
        self, unit: WriteUnit, spec: TaskSpec, proposal: ProposalRecord, actor: str, said: str
    ) -> str:
        number = parse_reference(proposal.about).number
        standing = facts.standing_of(unit, spec)
        blocked = obstacle(standing, number)
        if blocked:
            raise Conflict(
                f"{proposal.about} cannot begin: {blocked}",
                code="rollout-blocked",
                hint="end that first, or decline the proposal",
            )
        begun = steer.start(
            unit,
            spec,
            candidate=proposal.about,
            plan=plan_of(self.declared(spec).rollout),
            actor=actor,
            reason=said[:_LONGEST],
            at=self.clock.now(),
            replace=bool(standing.owner),
        )
        return begun.id


def rules_of(declared: TaskSettings) -> Rules:
    """What the settings of a task say of its automation."""
    training = declared.training
    return Rules(
        retrain_after=training.retrain_after,
        retrain_days=training.retrain_days,
        retrain_on_drift=training.retrain_on_drift,
        min_interval_s=training.min_interval_s,
        min_gain=declared.rollout.min_gain,
    )


def _fate(unit: ReadUnit, spec: TaskSpec, proposal: ProposalRecord) -> str:
    return outdated(proposal.what, proposal.about, facts.since(unit, spec, proposal))


def open_of(unit: ReadUnit, task: str | None = None) -> list[ProposalRecord]:
    """Proposals that wait for a person, newest first."""
    return records.list_proposals(unit, task=task, state=ProposalState.OPEN, limit=_LONGEST)
