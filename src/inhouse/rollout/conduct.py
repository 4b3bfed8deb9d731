"""One step of an experiment: read what is new, count it, look when it is time, and end it when it
is over.

Any number of processes may step the same experiment. What counts is read again from the outcomes
and labels since its start; only looks are kept, by compare-and-set, so that a process which starts
again looks no more often than was declared.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from inhouse.core.clock import Clock
from inhouse.core.errors import Conflict, Invalid, NotFound
from inhouse.db.unit import Database, ReadUnit
from inhouse.registry import move, routes
from inhouse.rollout import experiment_records as records
from inhouse.rollout import experiments, findings, intake
from inhouse.rollout.experiment_records import ExperimentRecord
from inhouse.rollout.findings import ExperimentState, Findings
from inhouse.rollout.trial import Trial
from inhouse.tasks.catalog import Catalog
from inhouse.tasks.spec import TaskSpec

ACTOR: Final = "experiment"
"""Who ends by evidence."""
AT_ONCE: Final = 5000
"""Outcomes that are read at once."""
_LOST: Final = ("experiment-changed", "experiment-state", "route-changed")


@dataclass(slots=True)
class _Memory:
    """What a process has counted of an experiment."""

    trial: Trial
    upto: dict[str, int]
    labelled: set[str]
    labels_since: datetime


@dataclass(frozen=True, slots=True)
class _End:
    state: ExperimentState
    why: str


class Conductor:
    """Steps experiments. For one thread at a time.

    It remembers what it counted; ``step`` reads what is missing.
    """

    def __init__(self, database: Database, clock: Clock, catalog: Catalog) -> None:
        self._database = database
        self._clock = clock
        self._catalog = catalog
        self._memories: dict[str, _Memory] = {}

    def running(self) -> list[str]:
        """The ids of the experiments that have not ended; others are forgotten."""
        with self._database.read() as unit:
            found = records.unfinished(unit)
        for gone in self._memories.keys() - set(found):
            self.forget(gone)
        return found

    def step(self, experiment_id: str) -> ExperimentRecord | None:
        """Count what is new; take the look that is due. Returns the experiment when it ended or was
        looked at; None when it waits, had ended, or somebody else was first.

        Raises NotFound for an unknown experiment, and what the database raises; then it forgets
        what it counted, and the next step counts again.
        """
        try:
            return self._step(experiment_id)
        except Conflict as error:
            self.forget(experiment_id)
            if error.code not in _LOST:
                raise
            return None
        except BaseException:
            self.forget(experiment_id)
            raise

    def forget(self, experiment_id: str) -> None:
        """Give up what was counted of an experiment."""
        self._memories.pop(experiment_id, None)

    def _step(self, experiment_id: str) -> ExperimentRecord | None:
        with self._database.read() as unit:
            experiment = records.get(unit, experiment_id)
            spec = self._spec(experiment)
            if experiment.is_over or spec is None:
                self.forget(experiment_id)
                return None
            memory = self._memory(experiment)
            why = _lost(unit, spec, experiment)
            now = self._clock.now()
            is_news = why is None and _count(unit, spec, experiment, memory, now)
        if why is not None:
            return self._end(
                spec, experiment, experiment.findings, _End(ExperimentState.ABORTED, why)
            )
        return self._judge(spec, experiment, memory.trial, is_news=is_news)

    def _judge(
        self, spec: TaskSpec, experiment: ExperimentRecord, trial: Trial, *, is_news: bool
    ) -> ExperimentRecord | None:
        question, before = experiment.question, experiment.findings
        found = findings.progress(before, trial)
        broken = findings.catastrophe(question, trial)
        if broken is not None:
            return self._end(spec, experiment, found, _End(ExperimentState.STOPPED, broken))
        if not findings.is_due(question, before.looks, found.outcomes):
            if experiment.until is not None and self._clock.now() >= experiment.until:
                passed = findings.timed_out(question, found, experiment.incumbent_before)
                state = ExperimentState.INCONCLUSIVE
                return self._end(spec, experiment, found, _End(state, passed))
            if is_news and found.outcomes >= before.outcomes:
                with self._database.write() as unit:
                    records.note(unit, experiment, found)
            return None
        at = self._clock.now().isoformat()
        found = findings.look(question, found, trial.contrast(), at)
        if not findings.is_over(question, found):
            with self._database.write() as unit:
                return records.change(unit, experiment, found)
        told = findings.recommend(question, found, experiment.incumbent_before)
        found = replace(found, recommendation=told)
        return self._end(spec, experiment, found, _End(ExperimentState.CONCLUDED, told))

    def _end(
        self, spec: TaskSpec, experiment: ExperimentRecord, found: Findings, end: _End
    ) -> ExperimentRecord:
        said = {"actor": ACTOR, "reason": end.why}
        at = self._clock.now()
        with self._database.write() as unit:
            ended = experiments.end(unit, spec, experiment, end.state, found, **said, at=at)
        self.forget(experiment.id)
        return ended

    def _memory(self, experiment: ExperimentRecord) -> _Memory:
        memory = self._memories.get(experiment.id)
        if memory is None:
            question, by_user = experiment.question, experiment.findings.by_user
            memory = self._memories[experiment.id] = _Memory(
                trial=Trial(question.metric, horizon=question.horizon, by_user=by_user),
                upto=dict(experiment.start),
                labelled=set(),
                labels_since=experiment.created_at - intake.LATE,
            )
        return memory

    def _spec(self, experiment: ExperimentRecord) -> TaskSpec | None:
        """Its task; None while it is not declared: then nobody calls it either."""
        with suppress(NotFound):
            return self._catalog.get(experiment.task)
        return None


def _lost(unit: ReadUnit, spec: TaskSpec, experiment: ExperimentRecord) -> str | None:
    """Why an experiment cannot go on, if so."""
    route = routes.current(unit, experiment.task)
    revision = 0 if route is None else route.revision
    if revision != experiment.route_revision:
        return (
            f"somebody moved the route: it is at revision {revision}, the experiment left it at "
            f"{experiment.route_revision}"
        )
    for reference in (experiment.question.a, experiment.question.b):
        try:
            move.check_candidate(unit, spec, reference)
        except (Conflict, Invalid, NotFound) as error:
            return f"{reference} may not answer {experiment.task} any more: {error.message}"
    return None


def _count(
    unit: ReadUnit,
    spec: TaskSpec,
    experiment: ExperimentRecord,
    memory: _Memory,
    now: datetime,
) -> bool:
    """Count everything that is there now, because a look is at all of it. Returns whether there was
    something."""
    first, heads, counted = experiment.route_revision, intake.heads(unit), 0
    while any(memory.upto.get(process, 0) < number for process, number in heads.items()):
        found = intake.outcomes(
            unit, experiment, first_revision=first, after=memory.upto, upto=heads, limit=AT_ONCE
        )
        for seen in found.seen:
            memory.trial.outcome(seen)
        counted += len(found.seen)
        memory.upto.update(found.upto)
    if memory.trial.measure.of_labels:
        counted += _count_labels(unit, spec, experiment, memory, now)
    return counted > 0


def _count_labels(
    unit: ReadUnit,
    spec: TaskSpec,
    experiment: ExperimentRecord,
    memory: _Memory,
    now: datetime,
) -> int:
    newest = intake.newest_label(unit, memory.labels_since, now)
    if newest is None:
        return 0
    labels = intake.labels(
        unit,
        experiment,
        spec,
        first_revision=experiment.route_revision,
        known=memory.labelled,
        since=memory.labels_since,
    )
    for label in labels:
        memory.trial.label(
            unit=label.unit,
            candidate=label.candidate,
            weight_bp=label.weight_bp,
            error=label.error,
        )
        memory.labelled.add(label.interaction_id)
    if not labels:
        memory.labels_since = max(memory.labels_since, newest - intake.LATE)
    return len(labels)
