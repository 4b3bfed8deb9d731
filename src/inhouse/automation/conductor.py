"""Asks for every task what is next and has it done, again and again.

Any number of processes may do so. Facts are read first and once more in the transaction that acts
on them; from one thing there is one conclusion, by a unique key; a proposal leaves its state by
compare-and-set. So a process that dies leaves all of an act or nothing, and of two that act at once
one finds it done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from inhouse.automation import chores, records
from inhouse.automation.carry import Proposals, open_of
from inhouse.automation.records import ACTOR, ProposalRecord
from inhouse.automation.steps import Verb
from inhouse.core.errors import Conflict, InhouseError, Invalid, NotFound
from inhouse.core.log import Log
from inhouse.db.unit import Database, WriteUnit
from inhouse.jobs.pause import paused
from inhouse.tasks.spec import TaskSpec

EVERY_S: Final = 5.0
_REST: Final = 20.0
"""A look that takes long (many examples to count) is followed by so many times its length."""
_AGAIN: Final = (
    *("rollout-blocked", "rollout-changed", "rollout-running", "route-changed", "version-changed"),
    *("proposal-state", "proposal-outdated", "jobs-paused"),
)
"""Somebody else was first: the next look sees what they did."""
_log = Log("inhouse")


class Conductor:
    """One per process."""

    def __init__(self, database: Database, proposals: Proposals) -> None:
        self._database = database
        self._proposals = proposals
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing: set[str] = set()

    def start(self) -> None:
        """Begin to look, in a thread."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="automation", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the act that it may be busy with."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            thread.join()

    def tick(self) -> list[ProposalRecord]:
        """Look at every task once, and queue what comes again by time. What fails is logged, and
        keeps nothing else from being done. Returns proposals that were made, or moved."""
        made: list[ProposalRecord] = []
        self._try("", self._look, made)
        return made

    def _look(self, made: list[ProposalRecord]) -> None:
        with self._database.read() as unit:
            if paused(unit) is not None:
                return
        settings, clock = self._proposals.settings(), self._proposals.clock
        self._try("chores", chores.run, self._database, clock, settings)
        for spec in self._proposals.catalog.all():
            if spec.name in settings.tasks:
                self._try(spec.name, self._task, spec, made)

    def _task(self, spec: TaskSpec, made: list[ProposalRecord]) -> None:
        mode = self._proposals.declared(spec).rollout.automation
        if mode == "off":
            return
        with self._database.read() as unit:
            outlook = self._proposals.look(unit, spec)
        is_new = any(step.verb is not Verb.WAIT for step in (outlook.training, outlook.rollout))
        if is_new or outlook.outdated:
            self._keep(spec, made)
        if mode == "on":
            with self._database.read() as unit:
                waiting = open_of(unit, spec.name)
            for proposal in waiting:
                self._carry_out(proposal, made)

    def _keep(self, spec: TaskSpec, made: list[ProposalRecord]) -> None:
        """What is outdated goes, what is new is kept."""
        with self._database.write() as unit:
            if paused(unit) is not None:
                return
            found = self._proposals.expire(unit, self._proposals.look(unit, spec))
            outlook = self._proposals.look(unit, spec)
            for step in (outlook.training, outlook.rollout):
                found += self._proposals.conclude(unit, spec, step)
        self._tell(found, made)

    def _carry_out(self, proposal: ProposalRecord, made: list[ProposalRecord]) -> None:
        """Accept a proposal. What can never begin is declined, with its reason."""
        try:
            with self._database.write() as unit:
                done = [self._proposals.accept(unit, proposal, actor=ACTOR)]
        except (Conflict, Invalid, NotFound) as error:
            if error.code in _AGAIN:
                return
            with self._database.write() as unit:
                done = self._decline(unit, proposal, error)
        self._tell(done, made)

    def _decline(
        self, unit: WriteUnit, proposal: ProposalRecord, error: InhouseError
    ) -> list[ProposalRecord]:
        seen = records.get(unit, proposal.id)
        if seen.state is not proposal.state:
            return []
        return [self._proposals.decline(unit, seen, actor=ACTOR, reason=error.message)]

    def _tell(self, found: list[ProposalRecord], made: list[ProposalRecord]) -> None:
        for one in found:
            made.append(one)
            _log.info(
                "automation",
                task=one.task,
                what=one.what.value,
                about=one.about,
                state=one.state.value,
                reason=one.reason or one.why,
            )

    def _work(self) -> None:
        clock, rest = self._proposals.clock, EVERY_S
        while not self._stopping.wait(rest):
            began = clock.monotonic()
            self.tick()
            rest = max(EVERY_S, _REST * (clock.monotonic() - began))

    def _try(self, about: str, verb: Callable[..., None], *arguments: object) -> None:
        """Call it. What it raises is logged, the first time of several in a row."""
        try:
            verb(*arguments)
        except Exception as error:  # noqa: BLE001 the thread outlives every error
            if about not in self._failing:
                reason = f"{type(error).__name__}: {error}"
                _log.error("automation stands still", about=about, reason=reason)
            self._failing.add(about)
        else:
            self._failing.discard(about)
