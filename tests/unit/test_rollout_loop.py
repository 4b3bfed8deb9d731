"""Simulated rollouts through the real loop decide what the engine alone decides, and go on doing so
while processes begin again, lose leases, and hear labels late, twice and in any order."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from inhouse.db.bulk import bulk_cursor
from inhouse.interactions.insert import Inserts
from inhouse.rollout.bars import Run, Verdict, measure
from inhouse.rollout.controller import LEASE, Controller
from inhouse.rollout.direct import PROCESS, Direct
from inhouse.rollout.loop import Loop
from inhouse.rollout.played import Made, Sent
from inhouse.rollout.records import DecisionRecord
from inhouse.rollout.scenarios import SCENARIOS, Scenario
from inhouse.rollout.simulate import LIMIT, play, seed_of
from inhouse.testing.rollouts import SHORTER

MASTER = 5
FEW = ((1, 12), (15, 120), (70, 420))
"""Requests between two looks, and most requests, of the runs of the default size."""
LOOKS = {
    "collapse": 1,
    "collapse-default-set": 1,
    "shadow-equal": 5,
    "shadow-worse": 5,
    "slow": 5,
    "break": 5,
    "split": 10,
    "eight-points": 25,
}
"""Requests between two looks at full size, where it is not 50."""
LABELLED = "collapse-default-set"


def named(name: str) -> Scenario:
    return next(one for one in SCENARIOS if one.name == name)


def plain(made: Sequence[Made]) -> list[tuple[Any, ...]]:
    """Decisions with all their numbers but the time, which stands still for the engine."""
    return [(one.after, one.kind, one.weight_bp, {**one.evidence, "dwell": 0.0}) for one in made]


def both(
    scenario: Scenario, seed: str, loop: type[Loop] = Loop, *, looks: int, most: int
) -> tuple[Run, list[tuple[Any, ...]]]:
    """What the engine decides; it is checked that the loop decides the same."""
    engine = Direct(scenario, seed)
    expected = play(scenario, engine, seed, batch=looks, limit=most)
    with closing(loop(scenario, seed)) as real:
        found = play(scenario, real, seed, batch=looks, limit=most)
        assert found == expected
        assert plain(real.made) == plain(engine.made)
    return found, plain(engine.made)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_the_loop_decides_what_the_engine_decides(scenario: Scenario) -> None:
    for number, (looks, most) in enumerate(FEW):
        both(scenario, seed_of(scenario.name, MASTER, number), looks=looks, most=most)


def test_runs_end_in_every_way_that_there_is() -> None:
    """So that the test above has something to compare."""
    kinds: set[str] = set()
    for name in ("equal.98", "collapse", "shadow-equal", "split"):
        _, made = both(named(name), seed_of(name, MASTER, 0), looks=200, most=3000)
        kinds |= {one[1] for one in made}
    assert kinds == {"advance", "bake", "ramp", "roll_back", "hold"}


@pytest.mark.full
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_no_bar_is_refuted_through_the_loop(scenario: Scenario) -> None:
    """300 runs of every scenario, each equal to that of the engine with the same looks."""
    looks, most = LOOKS.get(scenario.name, 50), SHORTER.get(scenario.name, LIMIT)
    seeds = [seed_of(scenario.name, MASTER, number) for number in range(300)]
    runs = [both(scenario, seed, looks=looks, most=most)[0] for seed in seeds]
    results = [measure(bar, runs) for bar in scenario.bars]
    assert [one for one in results if one.refuted] == []


class Restarting(Loop):
    """Often begins anew with nothing but what is stored."""

    def __init__(self, scenario: Scenario, salt: str) -> None:
        super().__init__(scenario, salt)
        self.random = Random(salt)

    def step(self) -> DecisionRecord | None:
        if self.random.random() < 0.4:
            self.reconciler = self.reconcilers()
        return super().step()


class LosingLeases(Loop):
    """Two controllers; who has the lease stalls now and then, until the other one takes it."""

    def __init__(self, scenario: Scenario, salt: str) -> None:
        super().__init__(scenario, salt)
        self.random = Random(salt)
        self.controllers = [
            Controller(self.database, self.clock, self.catalog, name=name) for name in "ab"
        ]
        self.changes = 0

    def step(self) -> DecisionRecord | None:
        if self.random.random() < 0.3:
            self.controllers.reverse()
            self.clock.advance(LEASE.total_seconds() + 1)
            self.changes += 1
        made = [one for controller in self.controllers for one in controller.tick()]
        assert len(made) <= 1
        return made[0] if made else None


class Jumping(Loop):
    """Its clock jumps ahead and back, further than labels may be late when ``far``."""

    far = False
    ahead = 0.0

    def record(self, sent: Sequence[Sent]) -> None:
        jump = Random(f"{sent[0].number}").uniform(-1.0, 1.0) * (864_000 if self.far else 1500)
        self.clock.advance(jump - self.ahead)
        self.ahead = jump
        super().record(sent)


class JumpingFar(Jumping):
    far = True


class Repeating(Loop):
    """Every truth is told twice, and then somebody says the opposite."""

    def tell(self, labels: Sequence[Sent]) -> None:
        super().tell(labels)
        super().tell(labels)
        for one in labels:
            error = one.call.error
            assert error is not None
            self.submit(one, "right" if error[one.candidate] else "wrong", author="somebody")
        super().tell(labels)


@pytest.mark.parametrize("name", ["equal.98", LABELLED, "sticky-users", "shadow-worse"])
@pytest.mark.parametrize("fault", [Restarting, LosingLeases, Jumping])
def test_faults_change_no_decision(name: str, fault: type[Loop]) -> None:
    both(named(name), seed_of(name, MASTER, 3), fault, looks=50, most=450)


@pytest.mark.parametrize("name", ["equal.98", "shadow-equal"])
def test_without_labels_a_clock_may_jump_by_days(name: str) -> None:
    both(named(name), seed_of(name, MASTER, 1), JumpingFar, looks=50, most=450)


def labelled(late: tuple[int, int] | None) -> Scenario:
    """A candidate that answers as often and is wrong more often; every second answer labelled."""
    scenario = named(LABELLED)

    def calls(rng: Random) -> Any:
        for call in scenario.calls(rng):
            wrong = rng.random() < 0.1, rng.random() < 0.5
            error = (float(wrong[0]), float(wrong[1])) if rng.random() < 0.5 else None
            yield call._replace(bad=(0.0, 0.0), error=error)

    return replace(scenario, calls=calls, late=late)


@pytest.mark.parametrize("fault", [Loop, Repeating, Restarting])
def test_labels_count_when_they_come_and_once(fault: type[Loop]) -> None:
    """They are 1 to 500 requests late, so they come in any order."""
    seed, scenario = seed_of("late", MASTER, 0), labelled((1, 500))
    run, _ = both(scenario, seed, fault, looks=40, most=1500)
    assert (run.verdict, run.because) == (Verdict.ROLLED_BACK, "harm")
    at_once = replace(scenario, late=None)
    assert play(at_once, Direct(at_once, seed), seed, batch=40).requests < run.requests


class Scattered:
    """Calls of two processes, whose commits are late by up to two looks: arrivals in the order in
    which the loop reads them."""

    def __init__(self, salt: str) -> None:
        self.random = Random(salt)
        self.waiting: list[tuple[int, int, Sent]] = []
        self.look = 0
        self.process: dict[int, int] = {}
        self.last = [0, 0]

    def arrived(self, sent: Sequence[Sent]) -> list[Sent]:
        self.look += 1
        for one in sent:
            process = self.process[one.number] = self.random.randrange(2)
            due = max(self.look + self.random.choice((0, 0, 1, 2)), self.last[process])
            self.last[process] = due
            self.waiting.append((due, process, one))
        now = [entry for entry in self.waiting if entry[0] <= self.look]
        self.waiting = [entry for entry in self.waiting if entry[0] > self.look]
        return [one for _, _, one in sorted(now, key=lambda entry: (entry[1], entry[2].number))]


class ScatteredEngine(Direct):
    def __init__(self, scenario: Scenario, salt: str) -> None:
        super().__init__(scenario, salt)
        self.scattered = Scattered(salt)

    def see(self, sent: Sequence[Sent], labels: Sequence[Sent]) -> Verdict | None:
        arrived = self.scattered.arrived(sent)
        return super().see(arrived, ()) if arrived else None


class ScatteredLoop(Loop):
    def __init__(self, scenario: Scenario, salt: str) -> None:
        super().__init__(scenario, salt)
        self.scattered = Scattered(salt)
        dialect = self.database.engine.dialect
        self.inserts = [Inserts(dialect, PROCESS), Inserts(dialect, "g2")]

    def see(self, sent: Sequence[Sent], labels: Sequence[Sent]) -> Verdict | None:
        arrived = self.scattered.arrived(sent)
        return super().see(arrived, ()) if arrived else None

    def record(self, sent: Sequence[Sent]) -> None:
        """The second process commits first."""
        for process in (1, 0):
            own = [one for one in sent if self.scattered.process[one.number] == process]
            calls = [record for one in own for record in self.records(one)]
            if calls:
                with self.database.write() as unit:
                    cursor = bulk_cursor(unit.dialect, unit.connection.driver_connection)
                    inserts = self.inserts[process]
                    inserts.write_fresh(cursor, calls, inserts.rows(calls))


@pytest.mark.parametrize("name", ["equal.98", "collapse", "eight-points", "shadow-worse"])
def test_calls_of_two_processes_count_in_the_order_in_which_they_are_read(name: str) -> None:
    scenario, seed = named(name), seed_of(name, MASTER, 2)
    engine = ScatteredEngine(scenario, seed)
    expected = play(scenario, engine, seed, batch=30, limit=600)
    with closing(ScatteredLoop(scenario, seed)) as real:
        assert play(scenario, real, seed, batch=30, limit=600) == expected
        assert plain(real.made) == plain(engine.made)
    assert engine.scattered.last[0] > 0


def test_a_lease_is_really_lost() -> None:
    scenario, seed = named("equal.98"), seed_of("equal.98", MASTER, 0)
    with closing(LosingLeases(scenario, seed)) as real:
        play(scenario, real, seed, batch=50, limit=500)
        assert real.changes >= 2
