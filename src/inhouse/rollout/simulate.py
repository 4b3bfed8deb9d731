"""Simulated rollouts with a known truth, beside rules that others use.

Run number i of a scenario draws everything from a generator seeded with the master seed, the
scenario's name and i, whatever rule is watched, so that the rules meet the same streams.

Our rule runs in two ways that decide the same after every request, as tests hold: ``loop``
records calls in a database and steps the reconcile loop; ``engine`` is the engine alone, some fifty
times quicker.
"""

from __future__ import annotations

import heapq
import signal
from collections.abc import Callable, Collection, Container, Generator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from random import Random
from typing import Final

from inhouse.gateway.route import Arm, assign
from inhouse.rollout.bars import Run, Verdict
from inhouse.rollout.direct import Direct
from inhouse.rollout.loop import Loop
from inhouse.rollout.played import Rule, Sent
from inhouse.rollout.rivals import RIVALS
from inhouse.rollout.scenarios import SCENARIOS, Scenario

LIMIT: Final = 20_000
"""Requests after which a run ends without a verdict."""
OURS: Final = "inhouse"
EVERY_RULE: Final = (OURS, *(rival.name for rival in RIVALS))
_AT_ONCE: Final = 10


class Through(StrEnum):
    """What our rule runs through."""

    ENGINE = "engine"
    LOOP = "loop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How our rule is run. ``batch``: so many requests are assigned and recorded before the next
    look, as where a server answers between two steps of its controller."""

    through: Through = Through.ENGINE
    batch: int = 1

    def rule(self, scenario: Scenario, salt: str) -> Direct | Loop:
        made = Loop if self.through is Through.LOOP else Direct
        return made(scenario, salt)


PLAINLY: Final = Way()


def play(scenario: Scenario, rule: Rule, seed: str, *, batch: int = 1, limit: int = LIMIT) -> Run:
    """One run, to its verdict or for ``limit`` requests. The rule's route has ``seed`` as its salt.

    A label comes with its call, or some requests later where the scenario says so.
    """
    number = answered = 0
    calls, late = islice(scenario.calls(Random(seed)), limit), Random(f"{seed}/late")
    waiting: list[tuple[int, int, Sent]] = []
    while some := list(islice(calls, batch)):
        route, sent = rule.route, []
        for call in some:
            number += 1
            candidate = assign(route, call.unit).arm is Arm.CANDIDATE
            answered += candidate
            one = Sent(number, call, candidate, route.weight_bp)
            sent.append(one)
            if call.error is not None:
                due = number + (late.randint(*scenario.late) if scenario.late else 0)
                heapq.heappush(waiting, (due, number, one))
        labels = []
        while waiting and waiting[0][0] <= number:
            labels.append(heapq.heappop(waiting)[2])
        verdict = rule.see(sent, labels)
        if verdict is not None:
            return Run(verdict, rule.because, number, answered)
    return Run(Verdict.HELD, "limit", limit, answered)


def rules_of(scenario: Scenario) -> list[str]:
    """Names of the rules that run in a scenario, ours first."""
    return [*EVERY_RULE] if scenario.rivals else [OURS]


def seed_of(name: str, master: int, number: int) -> str:
    """The seed of one run of a scenario."""
    return f"{master}/{name}/{number}"


def batch(
    name: str, rule: str, master: int, first: int, runs: int, way: Way = PLAINLY
) -> list[Run]:
    """Runs ``first`` to ``first + runs - 1`` of one rule in one scenario."""
    scenario = next(one for one in SCENARIOS if one.name == name)
    make: Callable[[str], Rule] = lambda salt: way.rule(scenario, salt)  # noqa: E731
    if rule != OURS:
        make = next(rival for rival in RIVALS if rival.name == rule)
    done = []
    for number in range(first, first + runs):
        seed = seed_of(name, master, number)
        made = make(seed)
        with closing(made):
            done.append(play(scenario, made, seed, batch=way.batch))
    return done


Key = tuple[str, str]
"""A scenario and a rule."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some runs of one rule in one scenario, from number ``first`` on."""

    key: Key
    first: int
    runs: list[Run]


def simulate(
    scenarios: Sequence[Scenario],
    *,
    runs: int,
    master: int,
    processes: int,
    rules: Container[str] = EVERY_RULE,
    way: Way = PLAINLY,
    known: Mapping[Key, Collection[int]] | None = None,
) -> Generator[Piece, None, None]:
    """Runs of ``rules`` in every scenario, as they are done; not those whose numbers are ``known``.

    The runs themselves depend on nothing but the master seed; the order in which they come does.
    Closing the iterator gives up what has not begun.
    """
    pool = ProcessPoolExecutor(processes, initializer=_ignore_interrupts)
    try:
        waiting: dict[Future[list[Run]], tuple[Key, int]] = {}
        size = _AT_ONCE if way.through is Through.ENGINE else 1
        for first in range(0, runs, size):
            for scenario in scenarios:
                for rule in (name for name in rules_of(scenario) if name in rules):
                    key = (scenario.name, rule)
                    if first in (known or {}).get(key, ()):
                        continue
                    count = min(size, runs - first)
                    job = pool.submit(batch, *key, master, first, count, way)
                    waiting[job] = (key, first)
        for done in as_completed(waiting):
            key, first = waiting.pop(done)
            yield Piece(key, first, done.result())
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _ignore_interrupts() -> None:
    """Ctrl-C ends the process that gathers the runs; it ends the others."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
