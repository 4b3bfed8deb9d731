"""Steps every rollout that has not ended, twice a second, in one process at a time; experiments in
whichever is first."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Final

from inhouse.core.clock import Clock
from inhouse.core.log import Log
from inhouse.db.unit import Database
from inhouse.jobs.pause import paused
from inhouse.rollout import records
from inhouse.rollout.conduct import Conductor
from inhouse.rollout.judge import Asking
from inhouse.rollout.reconcile import Reconciler
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tell import weight_of
from inhouse.tasks.catalog import Catalog

EVERY_S: Final = 0.5
LEASE: Final = timedelta(seconds=10)
_log = Log("inhouse")


class Controller:
    """One per process. Whoever has the lease of a rollout steps it; when that process dies, another
    takes over as soon as the lease has ended. ``name`` names the process."""

    def __init__(self, database: Database, clock: Clock, catalog: Catalog, *, name: str) -> None:
        self._database = database
        self._clock = clock
        self._name = name
        self._reconciler = Reconciler(database, clock, catalog)
        self._conductor = Conductor(database, clock, catalog)
        self._judges = Asking(database, clock, catalog)
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing: set[str] = set()

    def start(self) -> None:
        """Begin to step rollouts and experiments, in a thread."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="rollouts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the step that it may be busy with, and leave the rollouts to others."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        self._stopping.set()
        thread.join()
        self._try("", self._give_up)

    def tick(self) -> list[DecisionRecord]:
        """Step every rollout that this process has or gets the lease of, and every experiment. What
        fails is logged, and does not keep the others from their step. While jobs are paused a step
        only goes back. Returns what was decided of rollouts."""
        made: list[DecisionRecord] = []
        self._try("", self._step_all, made)
        return made

    def _step_all(self, made: list[DecisionRecord]) -> None:
        for rollout in self._unfinished():
            self._try(rollout.id, self._step, rollout, made)
        for experiment_id in self._conductor.running():
            self._try(experiment_id, self._step_experiment, experiment_id)

    def _step_experiment(self, experiment_id: str) -> None:
        changed = self._conductor.step(experiment_id)
        if changed is None:
            self._judges.ask(experiment_id)
        else:
            _log.info(
                "experiment",
                task=changed.task,
                a=changed.question.a,
                b=changed.question.b,
                state=changed.state.value,
                looks=len(changed.findings.looks),
                winner=changed.findings.winner,
                reason=changed.findings.why,
            )

    def _step(self, rollout: RolloutRecord, made: list[DecisionRecord]) -> None:
        if not self._leased(rollout):
            self._reconciler.forget(rollout.id)
            return
        decision = self._reconciler.step(rollout.id)
        if decision is not None:
            made.append(decision)
            _log.info(
                "rollout",
                task=rollout.task,
                candidate=rollout.candidate,
                decision=decision.kind,
                state=decision.state.value,
                weight_percent=decision.weight_bp / 100,
                reasons=list(decision.reasons),
            )
        elif rollout.plan.judge and (rollout.is_shadow or weight_of(rollout)):
            self._judges.ask(rollout.id)

    def _leased(self, rollout: RolloutRecord) -> bool:
        """Whether the rollout is this process's to step; renews a lease that is half over."""
        now = self._clock.now()
        mine = rollout.lease_owner == self._name
        if mine and rollout.lease_until is not None:
            left = rollout.lease_until - now
            if LEASE / 2 < left <= LEASE:
                return True
        with self._database.write() as unit:
            return records.lease(unit, rollout, owner=self._name, now=now, length=LEASE)

    def _unfinished(self) -> list[RolloutRecord]:
        with self._database.read() as unit:
            found = records.unfinished(unit)
            self._reconciler.still = bool(found) and paused(unit) is not None
        return found

    def _give_up(self) -> None:
        with self._database.write() as unit:
            records.give_up(unit, self._name)

    def _work(self) -> None:
        while not self._stopping.wait(EVERY_S):
            self.tick()

    def _try(self, about: str, verb: Callable[..., None], *arguments: object) -> None:
        """Call it. What it raises is logged, the first time of several in a row."""
        try:
            verb(*arguments)
        except Exception as error:  # noqa: BLE001 the thread outlives every error
            if about not in self._failing:
                reason = f"{type(error).__name__}: {error}"
                _log.error("rollouts are not stepped", about=about, reason=reason)
            self._failing.add(about)
        else:
            self._failing.discard(about)
