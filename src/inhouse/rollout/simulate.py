"""Simulated rollouts with a known truth: the real assignment, the real evidence and decisions.

Run number i of a scenario draws everything from a generator seeded with the master seed, the
scenario's name and i, whatever rule is watched, so that the rules meet the same streams.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import Final

from inhouse.gateway.route import Arm, assign
from inhouse.rollout.bars import Run, Verdict
from inhouse.rollout.decide import Decision, Kind, Standing, decide, decide_shadow
from inhouse.rollout.guardrails import Evidence, ShadowEvidence
from inhouse.rollout.plan import FULL_BP, RolloutState
from inhouse.rollout.rivals import RIVALS, Rule
from inhouse.rollout.scenarios import SCENARIOS, Scenario
from inhouse.rollout.truths import Call
from inhouse.rollout.users import UserMeans

LIMIT: Final = 20_000
"""Requests after which a run ends without a verdict."""
OURS: Final = "inhouse"
EVERY_RULE: Final = (OURS, *(rival.name for rival in RIVALS))
_BATCH: Final = 10
_ENDS: Final = {
    Kind.BAKE: Verdict.PROMOTED,
    Kind.RAMP: Verdict.PROMOTED,
    Kind.ROLL_BACK: Verdict.ROLLED_BACK,
    Kind.HOLD: Verdict.HELD,
}


@dataclass(slots=True)
class _Route:
    """What ``assign`` reads of a route."""

    salt: str
    weight_bp: int = 0
    incumbent: str = "general/model"
    candidate: str | None = "task@1"
    chain: tuple[str, ...] = ()
    pin: str | None = None


class Ramp:
    """Our rule: evidence after every call, and a decision after every piece of it."""

    def __init__(self, scenario: Scenario) -> None:
        self._plan = scenario.plan
        self._evidence = Evidence(scenario.plan, by_user=scenario.by_user)
        self._users = UserMeans() if scenario.by_user else None
        self._standing = Standing(RolloutState.RAMPING, 0)
        self.weight_bp = scenario.plan.weight_bp(0)
        self.because = ""

    def see(self, call: Call, *, candidate: bool) -> Verdict | None:
        self._record(call, candidate=candidate)
        plan, standing = self._plan, self._standing
        reading = self._evidence.reading(plan.margin_after(standing.step))
        decision = decide(plan, standing, reading)
        if decision.kind is Kind.ADVANCE:
            self._standing = Standing(decision.state, decision.step, reading.candidate)
        self.weight_bp = decision.weight_bp
        return self._verdict(decision)

    def _verdict(self, decision: Decision) -> Verdict | None:
        verdict = _ENDS.get(decision.kind)
        if verdict is not None:
            self.because = decision.because[0].name
        return verdict

    def _record(self, call: Call, *, candidate: bool) -> None:
        evidence, weight = self._evidence, self.weight_bp / FULL_BP
        bad = call.bad[candidate]
        arm = candidate and not call.moved
        if self._users is not None:
            for user in self._users.add(call.unit, candidate=arm, weight=weight, bad=bad):
                evidence.assigned(candidate=user.candidate, weight=user.weight)
                evidence.answered(candidate=user.candidate, weight=user.weight, bad=user.bad)
            return
        evidence.assigned(candidate=arm, weight=weight)
        evidence.answered(candidate=arm, weight=weight, bad=bad)
        if call.latency_s is not None:
            evidence.took(candidate=arm, weight=weight, latency_s=call.latency_s[candidate])
        if call.error is not None:
            evidence.labelled(candidate=arm, weight=weight, error=call.error[candidate])


class Shadow:
    """Our rule where the candidate answers copies of calls."""

    def __init__(self, scenario: Scenario) -> None:
        self._plan = scenario.plan
        self._evidence = ShadowEvidence(scenario.plan)
        self.weight_bp = 0
        self.because = ""

    def see(self, call: Call, *, candidate: bool) -> Verdict | None:
        incumbent_bad, candidate_bad = call.bad
        self._evidence.answered(
            candidate_bad=bool(candidate_bad), incumbent_bad=bool(incumbent_bad)
        )
        standing = Standing(RolloutState.SHADOWING, 0)
        decision = decide_shadow(self._plan, standing, self._evidence.reading())
        verdict = _ENDS.get(decision.kind)
        if verdict is not None:
            self.because = decision.because[0].name
        return verdict


def ours(scenario: Scenario) -> Rule:
    """The rule of this project for a scenario."""
    return Shadow(scenario) if scenario.plan.shadow_inputs else Ramp(scenario)


def play(scenario: Scenario, rule: Rule, seed: str) -> Run:
    """One run, to its verdict or for ``LIMIT`` requests."""
    route, answered = _Route(salt=seed), 0
    for number, call in enumerate(islice(scenario.calls(Random(seed)), LIMIT), 1):
        route.weight_bp = rule.weight_bp
        candidate = assign(route, call.unit).arm is Arm.CANDIDATE
        answered += candidate
        verdict = rule.see(call, candidate=candidate)
        if verdict is not None:
            return Run(verdict, rule.because, number, answered)
    return Run(Verdict.HELD, "limit", LIMIT, answered)


def rules_of(scenario: Scenario) -> list[str]:
    """Names of the rules that run in a scenario, ours first."""
    return [*EVERY_RULE] if scenario.rivals else [OURS]


def batch(name: str, rule: str, master: int, first: int, runs: int) -> list[Run]:
    """Runs ``first`` to ``first + runs - 1`` of one rule in one scenario."""
    scenario = next(one for one in SCENARIOS if one.name == name)
    make: Callable[[], Rule] = lambda: ours(scenario)  # noqa: E731
    if rule != OURS:
        make = next(rival for rival in RIVALS if rival.name == rule)
    return [play(scenario, make(), f"{master}/{name}/{i}") for i in range(first, first + runs)]


Key = tuple[str, str]


def simulate(
    scenarios: Sequence[Scenario],
    *,
    runs: int,
    master: int,
    processes: int,
    rules: Container[str] = EVERY_RULE,
) -> Iterator[tuple[Key, list[Run]]]:
    """Runs of ``rules`` in every scenario, as they are done: ((scenario, rule), some runs).

    The runs themselves depend on nothing but the master seed; the order in which they come does.
    Closing the iterator gives up what has not begun.
    """
    pool = ProcessPoolExecutor(processes)
    try:
        waiting: dict[Future[list[Run]], Key] = {}
        for scenario in scenarios:
            for rule in (name for name in rules_of(scenario) if name in rules):
                for first in range(0, runs, _BATCH):
                    size = min(_BATCH, runs - first)
                    job = pool.submit(batch, scenario.name, rule, master, first, size)
                    waiting[job] = (scenario.name, rule)
        for done in as_completed(waiting):
            yield waiting[done], done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
