"""One step of a rollout: read what is new, count it, decide, and carry the decision out.

Any number of processes may step the same rollout; whoever is first wins, the others forget what
they counted and read it again. What was counted is stored with every decision, and every two
seconds besides, so that a process that starts again has the same evidence.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict, Invalid, NotFound
from inhouse.db.unit import Database, ReadUnit
from inhouse.registry import move, routes
from inhouse.rollout import intake, records, replay
from inhouse.rollout.decide import Check, Decision, Kind, abort
from inhouse.rollout.enact import Act, enact, keep
from inhouse.rollout.intake_records import LabelRecord
from inhouse.rollout.memory import Counted, Memory
from inhouse.rollout.outlook import weigh
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tally import Tally, as_json
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec

ACTOR: Final = "rollout"
"""Who decides by evidence."""
AT_ONCE: Final = 5000
"""Outcomes that one step counts at most."""
_LOST: Final = ("rollout-changed", "route-changed")
_STILL: Final = (RolloutState.HELD, RolloutState.PAUSED)
_ENDS: Final = (Kind.ROLL_BACK, Kind.ABORT)
_FRESH: Final = (Kind.RAMP, Kind.BAKE)


class Reconciler:
    """Steps rollouts. For one thread at a time.

    It remembers the evidence of those that it stepped; ``step`` reads what is missing, and nothing
    else where that is much. While ``still`` is set no step goes forward; harm rolls back, and
    evidence is counted.
    """

    def __init__(self, database: Database, clock: Clock, catalog: Catalog) -> None:
        self._database = database
        self._clock = clock
        self._catalog = catalog
        self._memories: dict[str, Memory] = {}
        self._replays: dict[str, Memory] = {}
        self.still = False

    def step(self, rollout_id: str) -> DecisionRecord | None:
        """Count what is new and decide after every piece of it, up to the first decision. Returns
        it; None when it waits, has ended, or somebody else was first.

        Raises NotFound for an unknown rollout, and what the database raises; then it forgets what
        it counted, and the next step begins with what is stored.
        """
        try:
            return self._step(rollout_id)
        except Conflict as error:
            self.forget(rollout_id)
            if error.code not in _LOST:
                raise
            return None
        except BaseException:
            self.forget(rollout_id)
            raise

    def forget(self, rollout_id: str) -> None:
        """Give up what is remembered of a rollout."""
        self._memories.pop(rollout_id, None)
        self._replays.pop(rollout_id, None)

    def reading(self, rollout_id: str) -> dict[str, Any]:
        """The evidence of a rollout as its stored intakes give it, for the margin that its step
        asks for."""
        with self._database.read() as unit:
            rollout = records.get(unit, rollout_id)
            return _reading(rollout, replay.rebuild(unit, rollout).tally)

    def _step(self, rollout_id: str) -> DecisionRecord | None:
        with self._database.read() as unit:
            rollout = records.get(unit, rollout_id)
            spec = self._spec(rollout)
            if rollout.is_over or spec is None:
                self.forget(rollout_id)
                return None
            memory = self._remembered(unit, rollout)
            if memory is None:
                return None
            memory.still = self.still
            lost = _lost(unit, spec, rollout)
            news = None if lost else _news(unit, spec, rollout, memory, self._clock.now())
        counted = Counted()
        if lost is not None:
            decision = abort(lost)
        else:
            decision, counted = _count(rollout, memory, news, self._clock.now())
        return self._keep(spec, rollout, memory, decision, counted)

    def _remembered(self, unit: ReadUnit, rollout: RolloutRecord) -> Memory | None:
        """What is known of a rollout; None while there is more to read again, in the next steps."""
        memory = self._memories.get(rollout.id)
        if memory is not None and memory.intakes == rollout.intakes:
            return memory
        again = self._replays.pop(rollout.id, None) or replay.begin(unit, rollout)
        if not replay.go_on(unit, rollout, again):
            self._replays[rollout.id] = again
            return None
        self._memories[rollout.id] = again
        return again

    def _keep(
        self,
        spec: TaskSpec,
        rollout: RolloutRecord,
        memory: Memory,
        decision: Decision,
        counted: Counted,
    ) -> DecisionRecord | None:
        made, at = None, self._clock.now()
        decided = decision.kind is not Kind.WAIT
        memory.note(counted, at)
        due = memory.is_news if decided else memory.is_due(at)
        taken = memory.taken(_reading(rollout, memory.tally)) if due else None
        if decided:
            act = _act(rollout, memory, decision, at)
            with self._database.write() as unit:
                made = enact(unit, spec, rollout, act, taken)
        elif taken is not None:
            with self._database.write() as unit:
                keep(unit, rollout, taken, at)
        if taken is not None:
            memory.stored(taken, at, decided=decided)
        if made is not None and decision.kind in _FRESH:
            memory.begin(at)
        if made is not None and decision.kind in _ENDS:
            self.forget(rollout.id)
        return made

    def _spec(self, rollout: RolloutRecord) -> TaskSpec | None:
        """Its task; None while it is not declared: then nobody calls it either."""
        with suppress(NotFound):
            return self._catalog.get(rollout.task)
        return None


@dataclass(frozen=True, slots=True)
class _News:
    outcomes: intake.Outcomes
    labels: list[LabelRecord]


def _news(
    unit: ReadUnit, spec: TaskSpec, rollout: RolloutRecord, memory: Memory, now: datetime
) -> _News:
    first = memory.first_revision
    found = intake.outcomes(
        unit,
        rollout,
        first_revision=first,
        after=memory.upto,
        upto=intake.heads(unit),
        limit=AT_ONCE,
    )
    newest = intake.newest_label(unit, memory.labels_since, now)
    labels: list[LabelRecord] = []
    if newest is not None:
        told = intake.pair_labels if rollout.is_shadow else intake.labels
        labels = told(
            unit,
            rollout,
            spec,
            first_revision=first,
            known=memory.labelled,
            since=memory.labels_since,
        )
        if not labels:
            memory.labels_since = max(memory.labels_since, newest - intake.LATE)
    return _News(found, labels)


def _count(
    rollout: RolloutRecord, memory: Memory, news: _News | None, now: datetime
) -> tuple[Decision, Counted]:
    """Feed one after the other, and decide after each. What comes after a decision stays new."""
    counted = Counted()
    decision = None
    if news is not None:
        for seen in news.outcomes.seen:
            memory.count(seen, counted)
            decision = _decide(rollout, memory, now)
            if decision.kind is not Kind.WAIT:
                done = {p: n for p, n in news.outcomes.upto.items() if p < seen.process}
                counted.upto.update(done)
                return decision, counted
        counted.upto.update(news.outcomes.upto)
        for label in news.labels:
            memory.label(label)
            counted.labels.append(label)
            decision = _decide(rollout, memory, now)
            if decision.kind is not Kind.WAIT:
                break
    return decision or _decide(rollout, memory, now), counted


def _decide(rollout: RolloutRecord, memory: Memory, now: datetime) -> Decision:
    margin = rollout.plan.margin_after(rollout.step)
    tally = memory.tally
    reading = tally.shadow() if rollout.is_shadow else tally.reading(margin)
    decision = weigh(rollout, reading, fresh_at=memory.fresh_at, now=now)
    if (memory.still or rollout.state in _STILL) and decision.kind not in _ENDS:
        return decision._replace(kind=Kind.WAIT, state=rollout.state)
    return decision


def _act(rollout: RolloutRecord, memory: Memory, decision: Decision, at: datetime) -> Act:
    values: dict[str, Any] = {"stopped_from": None}
    if decision.kind is Kind.HOLD:
        values["stopped_from"] = rollout.state.value
    if decision.kind in (Kind.RAMP, Kind.ADVANCE, Kind.BAKE):
        values["step_at"] = at
        margin = rollout.plan.margin_after(rollout.step)
        is_fresh = decision.kind in _FRESH
        values["candidate_before"] = 0 if is_fresh else memory.tally.reading(margin).candidate
    return Act(
        kind=decision.kind.value,
        state=decision.state,
        step=decision.step,
        weight_bp=decision.weight_bp,
        reasons=decision.reasons,
        evidence=decision.evidence,
        actor=ACTOR,
        at=at,
        expect=rollout.route_revision,
        leaves_route=any(check.name == "moved" for check in decision.because),
        fresh=decision.kind in _FRESH,
        values=values,
    )


def _reading(rollout: RolloutRecord, tally: Tally) -> dict[str, Any]:
    if rollout.is_shadow:
        return as_json(tally.shadow())
    return as_json(tally.reading(rollout.plan.margin_after(rollout.step)))


def _lost(unit: ReadUnit, spec: TaskSpec, rollout: RolloutRecord) -> Check | None:
    """Why a rollout cannot go on, if so."""
    route = routes.current(unit, rollout.task)
    revision = 0 if route is None else route.revision
    if revision != rollout.route_revision:
        return Check("moved", False, revision, rollout.route_revision)
    try:
        move.check_candidate(unit, spec, rollout.candidate)
    except (Conflict, Invalid, NotFound):
        return Check("unfit", False, 1, 0)
    return None
