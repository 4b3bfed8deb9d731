"""The part of the story in which traffic moves: by evidence, then by hand, back and forth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inhouse.cli.demo.arrivals import Arrivals
from inhouse.cli.demo.ask import PARALLEL, TASK, Application
from inhouse.cli.demo.folder import General
from inhouse.cli.demo.measure import Measure
from inhouse.cli.demo.plan import MOST_RAMP_CALLS, Plan
from inhouse.cli.demo.rollouts import ACTOR, Rollouts, plan_in_words
from inhouse.db.unit import WriteUnit
from inhouse.registry import move
from inhouse.registry.routes import Route
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.tell import Told

_AFTERWARDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Ramp:
    """Traffic between the general model and the own ``version``."""

    measure: Measure
    url: str
    plan: Plan
    general: General
    version: str

    def by_evidence(self) -> dict[str, Any]:
        """The controller of the server moves the traffic. Returns the state in which the rollout
        ended and, when that is ``done``, a window of calls afterwards."""
        app, now = self.measure.app, self.measure.now
        rollouts = Rollouts(app=app, teller=self.measure.teller, step="ramp")
        self.measure.teller.say(plan_in_words(rollouts.plan))
        application, general = Application(self.url), self.general.reference
        left: dict[str, Any] = {}
        began = now()
        rollout_id = rollouts.start(self.version, "the gate passed")
        with Arrivals(application, self.plan.ramp, truths=True) as arrivals:
            arrivals.limit({general: self.plan.most_ramp_general}, MOST_RAMP_CALLS)
            told = rollouts.follow(rollout_id, arrivals.are_spent, trusts=True)
            arrivals.limit({}, None)
            left["state"] = told.rollout.state.value
            if told.rollout.state is RolloutState.DONE:
                self.measure.in_force(told.decisions[-1].route_revision)
                left["since"] = now().isoformat()
                arrivals.wait_for(_AFTERWARDS + PARALLEL)
            until = self.measure.settle(arrivals)
        application.close()
        self._tell_end(rollouts, told, began, until, application.failures)
        return {**left, "until": until.isoformat(), "failures": application.failures}

    def _tell_end(
        self, rollouts: Rollouts, told: Told, began: datetime, until: datetime, failures: list[str]
    ) -> None:
        stats = self.measure.stats(began, until)
        self.measure.tell_calls(
            "ramp",
            f"{stats['calls']} calls in all, {stats['own']} answered by {self.version}, "
            f"{stats['unanswered']} unanswered; {len(self.plan.ramp)} texts that are in no split, "
            "each sent again and again, and what was right told afterwards",
            began,
            until,
            stats,
        )
        if failures:
            self.measure.teller.say(f"{len(failures)} calls failed; the first: {failures[0]}")
        if told.rollout.state is not RolloutState.DONE:
            rollouts.tell_end(
                told, f"{self.general.reference} goes on answering everything", "0.state"
            )

    def by_hand(self) -> dict[str, Any]:
        """A person sends everything back to the general model; the kill switch takes that back."""
        spec, general = self.measure.app.catalog.get(TASK), self.general.reference

        def back(unit: WriteUnit, **said: Any) -> Route:
            return move.set_weight(unit, spec, candidate=general, percent=100, **said)

        def forth(unit: WriteUnit, **said: Any) -> Route:
            return move.rollback_all(unit, [spec], **said)[0]

        application = Application(self.url)
        with Arrivals(application, self.plan.ramp) as arrivals:
            arrivals.wait_for(5)
            self._move(arrivals, f"`routes set {TASK} --to {general} --weight 100`", back)
            self._move(arrivals, "`routes set --all 0`, the kill switch", forth)
        application.close()
        return {"failures": application.failures}

    def _move(self, arrivals: Arrivals, verb: str, change: Callable[..., Route]) -> None:
        """Move the route, and tell who answers the next calls."""
        began = time.perf_counter()
        with self.measure.app.database.write() as unit:
            route = change(unit, actor=ACTOR, reason="to see it", at=self.measure.now())
        self.measure.in_force(route.revision)
        took = time.perf_counter() - began
        since = self.measure.now()
        arrivals.wait_for(10 + PARALLEL)
        until = self.measure.settle(arrivals)
        stats = self.measure.stats(since, until)
        self.measure.tell_calls(
            "rollback",
            f"{verb}: in force after {took:.2f} s (route revision {route.revision}); of the next "
            f"{stats['calls']} calls {self.general.reference} answered "
            f"{stats['answered'] - stats['own']}, {self.version} {stats['own']}",
            since,
            until,
            stats,
        )
