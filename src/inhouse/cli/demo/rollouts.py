"""A rollout as the story tells it: started, followed decision by decision, and ended if need be."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from inhouse.bootstrap import App
from inhouse.cli.demo.ask import TASK
from inhouse.cli.demo.tell import Teller, picked
from inhouse.core.errors import Conflict
from inhouse.rollout import records, steer
from inhouse.rollout.declared import plan_of
from inhouse.rollout.plan import Plan, RolloutState
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tell import Told, plain_told, tell

ACTOR = "demo"
_LOOK_S = 0.1
_SHOWN = ("certificate", "outcomes", "harm", "mismatch")


def plan_in_words(plan: Plan) -> str:
    steps = ", ".join(f"{step / 100:g}" for step in plan.steps_bp)
    return (
        f"the plan: {steps} %; a step needs {plan.first_outcomes} answers of the candidate and "
        f"evidence that the next costs at most {100 * plan.margin:g} of 100 calls; a false "
        f"promotion has a chance of at most {100 * plan.false_promotion:g} %, a false rollback of "
        f"{100 * plan.false_rollback:g} %; at last {plan.hold_back_bp / 100:g} % stay with the "
        f"incumbent for {plan.bake_s:g} s"
    )


def in_words(told: Told, made: DecisionRecord) -> str:
    """A decision, and why, in plain words."""
    rollout = told.rollout
    plan, seen = rollout.plan, made.evidence
    why = "; ".join(made.reasons)
    match made.kind:
        case "start":
            words = f"{rollout.candidate} gets its first calls: {why}"
        case "advance" | "bake":
            words = (
                f"certified: here it costs at most {100 * plan.margin:g} of 100 calls (evidence "
                f"{seen['certificate']:.0f}, needed {1 / plan.false_promotion:.0f}), after "
                f"{seen['outcomes']:.0f} more answers"
            )
        case "finish":
            words = f"promoted: {rollout.candidate} answers everything"
        case "hold":
            words = f"held: {why}"
        case "resume":
            words = f"a person lets it go on: {why}"
        case "roll_back":
            words = f"rolled back: {why}"
        case _:
            words = f"ended: {why}"
    return f"{made.weight_bp / 100:>4g} %  {words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollouts:
    """Rollouts of one step of the story. The server's controller moves them; this only looks."""

    app: App
    teller: Teller
    step: str

    @property
    def plan(self) -> Plan:
        return plan_of(self.app.settings.tasks[TASK].rollout)

    def start(self, candidate: str, reason: str) -> str:
        """Begin a rollout as ``inhouse rollout start`` does, or go on with the one that a demo
        which was interrupted left. Returns its id."""
        with self.app.database.write() as unit:
            newest = next(iter(records.list_rollouts(unit, TASK, 1)), None)
            if newest is not None and newest.candidate == candidate and _is_good(newest):
                return newest.id
            return steer.start(
                unit,
                self.app.catalog.get(TASK),
                candidate=candidate,
                plan=self.plan,
                actor=ACTOR,
                reason=reason,
                at=self.app.clock.now(),
                replace=True,
            ).id

    def follow(self, rollout_id: str, spent: Callable[[], bool], *, trusts: bool = False) -> Told:
        """Tell every decision as it is made, until the end.

        Once ``spent`` says that there are no more calls to come, the rollout is ended without a
        verdict. ``trusts``: what evidence holds, a person lets go on; of a hundred good rollouts
        one may meet a split that looks odd.
        """
        shown = 0
        while True:
            with self.app.database.read() as unit:
                told = tell(unit, rollout_id)
            for number in range(shown, len(told.decisions)):
                self._tell_decision(told, number)
            shown = len(told.decisions)
            if told.rollout.is_over:
                return told
            with suppress(Conflict):  # the controller was first
                self._intervene(told.rollout, spent, trusts=trusts)
            time.sleep(_LOOK_S)

    def tell_end(self, told: Told, text: str, *paths: str) -> None:
        """A line with figures of a rollout that has ended, each by its path in ``rollout
        history``."""
        self.teller.tell(self.step, text, _command(told), _figures(told, *paths))

    def _tell_decision(self, told: Told, number: int) -> None:
        made = told.decisions[number]
        names = ["kind", "weight_bp", *(f"evidence.{n}" for n in _SHOWN if n in made.evidence)]
        figures = _figures(told, *(f"0.decisions.{number}.{name}" for name in names))
        self.teller.tell(self.step, in_words(told, made), _command(told), figures)

    def _intervene(
        self, rollout: RolloutRecord, spent: Callable[[], bool], *, trusts: bool
    ) -> None:
        said: dict[str, Any] = {"actor": ACTOR, "at": self.app.clock.now()}
        if spent():
            why = "no verdict within the calls that the demo allows"
            with self.app.database.write() as unit:
                steer.abort(unit, self.app.catalog.get(TASK), rollout, reason=why, **said)
        elif trusts and rollout.state is RolloutState.HELD:
            with self.app.database.write() as unit:
                steer.resume(unit, rollout, reason="looked at it, found nothing", **said)


def _is_good(rollout: RolloutRecord) -> bool:
    return not rollout.is_over or rollout.state is RolloutState.DONE


def _command(told: Told) -> tuple[str, ...]:
    return ("rollout", "history", TASK, "--id", told.rollout.id, "--json")


def _figures(told: Told, *paths: str) -> Mapping[str, Any]:
    return picked([plain_told(told)], *paths)
