"""``inhouse demo --poison``: three bad candidates, each of which is rolled back by itself.

An own model answers the task alone; no general model stands behind it. One candidate after another
is started as ``inhouse rollout start`` does, and the server's controller does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import msgspec
from rich.progress import Progress as Bar

from inhouse.bootstrap import App
from inhouse.cli.demo.arrivals import Arrivals
from inhouse.cli.demo.ask import TASK, Application
from inhouse.cli.demo.bad import break_the_graph, publish_bad, shuffle_the_head
from inhouse.cli.demo.folder import ROLLOUT, Progress
from inhouse.cli.demo.late import LATE_S, MODEL
from inhouse.cli.demo.measure import Measure, do_once
from inhouse.cli.demo.plan import Plan
from inhouse.cli.demo.rollouts import ACTOR, Rollouts, plan_in_words
from inhouse.cli.demo.tell import Teller, picked
from inhouse.cli.demo.train import bring_in, snapshot_of, train, version_of
from inhouse.core.references import ReferenceKind, parse_reference
from inhouse.registry import move, versions
from inhouse.registry.versions import Version
from inhouse.rollout.plan import RolloutState
from inhouse.rollout.tell import Told

_TEXTS: Final = 240
_MOST_CALLS: Final = 2000
_TRY_S: Final = 1
_SETTINGS: Final = """# Written by `inhouse demo --poison`

# Answers too late, while the demo runs.
[upstreams.late]
base_url = {url}

[tasks.sentiment]
builtin = "sentiment"
kind = "choice"
chain = []
timeout_s = 30
try_timeout_s = {try_s}
"""
_MIN_SCORE: Final = """# And no step before labels say so.
min_score = 0.5
"""


def poison_settings(late_url: str) -> str:
    """The ``inhouse.toml``; ``late_url`` is that of the server which answers too late."""
    url = msgspec.json.encode(late_url).decode()
    return _SETTINGS.format(url=url, try_s=_TRY_S) + ROLLOUT + _MIN_SCORE


@dataclass(frozen=True, slots=True, kw_only=True)
class Poison:
    """One demo of poisoned candidates: what it measures with, its server's address, its texts."""

    measure: Measure
    url: str
    plan: Plan
    progress: Progress

    def run(self) -> bool:
        """Tell it to its end. Returns whether every candidate was rolled back by itself and nobody
        saw an error."""
        teller = self.measure.teller
        self._step("own", "1  An own model answers", self._own)
        ends = [
            self._step("random", "2  A candidate that answers at random", self._random),
            self._step("late", "3  A candidate that answers too late", self._late),
            self._step("dead", "4  A candidate that cannot be loaded", self._dead),
        ]
        back = sum(end["rolled_back"] for end in ends)
        failures = [failure for end in ends for failure in end["failures"]]
        seen = f"{len(failures)} calls met an error" if failures else "nobody saw an error"
        teller.heading(f"{back} of {len(ends)} poisoned candidates were rolled back; {seen}")
        if failures:
            teller.say(f"the first: {failures[0]}")
        return back == len(ends) and not failures

    def _step(self, name: str, heading: str, work: Callable[[], Any]) -> Any:
        return do_once(self.progress, self.measure.teller, name, heading, work)

    @property
    def _app(self) -> App:
        return self.measure.app

    @property
    def _teller(self) -> Teller:
        return self.measure.teller

    def _own(self) -> dict[str, Any]:
        """Train on the labelled texts; all traffic goes to what comes of it."""
        app, teller = self._app, self._teller
        words = f"texts came in with their labels ({self.plan.source})"
        bring_in(app, teller, "own", self.plan.kind, self.plan.stream[:_TEXTS], words)
        snapshot = snapshot_of(app, teller, "own", self.plan.most_test)
        with Bar(transient=True, disable=not teller.console.is_terminal) as bar:
            run = train(app, snapshot, bar, actor=ACTOR, penalties=(1.0,), folds=2)
        good = version_of(app, run)
        with app.database.write() as unit:
            route = move.set_weight(
                unit,
                app.catalog.get(TASK),
                candidate=good.reference,
                percent=100,
                actor=ACTOR,
                reason="to begin with",
                at=self.measure.now(),
            )
        self.measure.in_force(route.revision)
        teller.tell(
            "own",
            f"run {run.id}: {run.recipe}, {run.status}; {good.reference} answers everything, and "
            "no general model stands behind it",
            ("train", "status", run.id, "--json"),
            {"status": run.status.value},
        )
        teller.tell("own", plan_in_words(self._rollouts("own").plan))
        return {"version_id": good.id}

    def _random(self) -> dict[str, Any]:
        bad = publish_bad(self._app, self._good(), shuffle_the_head)
        about = (
            f"{bad} is {self._good().reference} with the weights of its head shuffled: its files "
            "verify, its answers are valid, only wrong"
        )
        return self._tried("random", bad, about)

    def _late(self) -> dict[str, Any]:
        about = (
            f"late/{MODEL} is a server on this machine that answers after {LATE_S:g} s; a try may "
            f"take {_TRY_S} s (try_timeout_s)"
        )
        return self._tried("late", f"late/{MODEL}", about)

    def _dead(self) -> dict[str, Any]:
        bad = publish_bad(self._app, self._good(), break_the_graph)
        about = f"{bad} has a file for its encoder that verifies, and is no graph"
        return self._tried("dead", bad, about)

    def _good(self) -> Version:
        with self._app.database.read() as unit:
            return versions.by_id(unit, self.progress.done("own")["version_id"])

    def _rollouts(self, step: str) -> Rollouts:
        return Rollouts(app=self._app, teller=self._teller, step=step)

    def _tried(self, step: str, candidate: str, about: str) -> dict[str, Any]:
        """Start the candidate, send calls until the controller has sent it back, and tell it."""
        rollouts, application = self._rollouts(step), Application(self.url)
        self._teller.tell(step, about)
        began = self.measure.now()
        rollout_id = rollouts.start(candidate, "by mistake")
        with Arrivals(application, self.plan.ramp, truths=True) as arrivals:
            arrivals.limit({}, _MOST_CALLS)
            told = rollouts.follow(rollout_id, arrivals.are_spent)
            arrivals.limit({}, None)
            self.measure.in_force(told.decisions[-1].route_revision)
            until = self.measure.settle(arrivals)
        application.close()
        self._tell_end(rollouts, told)
        unanswered = self._tell_calls(step, began, until)
        self._tell_status(step, candidate)
        failures = application.failures or ["no answer"] * unanswered
        return {
            "rolled_back": told.rollout.state is RolloutState.ROLLED_BACK,
            "failures": failures,
        }

    def _tell_end(self, rollouts: Rollouts, told: Told) -> None:
        rollout, reading = told.rollout, told.reading or {}
        took = (rollout.ended_at - rollout.created_at).total_seconds() if rollout.ended_at else 0.0
        state = rollout.state.replace("_", " ")
        rollouts.tell_end(
            told,
            f"{state} after {took:.1f} s and {reading.get('outcomes', 0)} "
            f"calls, {reading.get('candidate', 0)} of them the candidate's",
            "0.state",
            "0.created_at",
            "0.ended_at",
            "0.reading.candidate",
            "0.reading.outcomes",
        )

    def _tell_calls(self, step: str, since: datetime, until: datetime) -> int:
        stats = self.measure.stats(since, until)
        by = ", ".join(f"{row['calls']} by {row['reference']}" for row in stats["references"])
        self.measure.tell_calls(
            step,
            f"{stats['answered']} of {stats['calls']} calls were answered ({by}); "
            f"{stats['unanswered']} met an error",
            since,
            until,
            stats,
        )
        return int(stats["unanswered"])

    def _tell_status(self, step: str, candidate: str) -> None:
        parsed = parse_reference(candidate)
        if parsed.kind is not ReferenceKind.VERSION:
            words = f"{candidate} gets no calls any more; it is no version that could be rejected"
            self._teller.tell(step, words, ("routes", "show", TASK, "--json"), {"0.weight_bp": 0})
            return
        with self._app.database.read() as unit:
            found = versions.get(unit, parsed.name, parsed.number)
        why: Mapping[str, Any] = found.rejected or {}
        self._teller.tell(
            step,
            f"{candidate} is {found.status}, by {why.get('by')}: {why.get('why')}",
            ("versions", "show", candidate, "--json"),
            picked({"status": found.status, "rejected": why or None}, "status", "rejected"),
        )
