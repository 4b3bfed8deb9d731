"""The tests of harm, safety and mismatch: what the mathematics says of them, by enumeration."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from copy import deepcopy
from random import Random
from typing import Any

import pytest

from inhouse.rollout.guardrails import average
from inhouse.rollout.sequential.harm import BoundedHarm, Harm, HarmTest
from inhouse.rollout.sequential.latency import FEWEST, WINDOW, Latencies
from inhouse.rollout.sequential.limits import Limit
from inhouse.rollout.sequential.mismatch import Mismatch
from inhouse.rollout.sequential.paired import PairedHarm, PairedSafety
from inhouse.rollout.sequential.running import CEILING
from inhouse.rollout.sequential.safety import Safety

HORIZON = 500
RATES = (0.0, 0.01, 0.1, 0.5, 0.93, 1.0)
WEIGHTS = (0.01, 0.1, 0.5, 0.9, 0.95)
PASTS = {
    "nothing": [],
    "good": [0.0] * 60,
    "bad": [1.0] * 250,
    "mixed": [1.0, 0.0, 0.0, 0.4, 0.0, 1.0, 0.0, 0.2] * 5,
}
HARMS: dict[str, Callable[[], HarmTest]] = {
    "harm": lambda: Harm(HORIZON),
    "bounded": lambda: BoundedHarm(HORIZON),
}


def _after(test: Any, past: list[float], weight: float) -> Any:
    for number, bad in enumerate(past):
        test.add(candidate=number % 3 == 0, weight=weight, bad=bad)
    return test


def _expected(
    test: Any, weight: float, rates: tuple[float, float], value: Callable[[Any], float]
) -> float:
    """The mean of a value after one more outcome, over both arms and both outcomes."""
    total = 0.0
    for candidate, bad in itertools.product((False, True), (0.0, 1.0)):
        chance = weight if candidate else 1.0 - weight
        rate = rates[candidate]
        branch = deepcopy(test)
        branch.add(candidate=candidate, weight=weight, bad=bad)
        total += chance * (rate if bad else 1.0 - rate) * value(branch)
    return total


@pytest.mark.parametrize("kind", HARMS)
@pytest.mark.parametrize("past", PASTS)
def test_equal_arms_neither_win_nor_lose_on_average(kind: str, past: str) -> None:
    for weight, rate in itertools.product(WEIGHTS, RATES):
        test = _after(HARMS[kind](), PASTS[past], weight)
        mean = _expected(test, weight, (rate, rate), lambda t: t.evidence)
        assert mean == pytest.approx(test.evidence, rel=1e-9)
        fresh = _expected(test, weight, (rate, rate), lambda t: t.fresh - t.usual)
        assert fresh == pytest.approx(test.fresh - test.usual, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("kind", HARMS)
def test_a_better_candidate_only_loses_and_a_worse_one_wins_more(kind: str) -> None:
    for weight in WEIGHTS:
        test = _after(HARMS[kind](), PASTS["mixed"], weight)
        means = [
            _expected(test, weight, (0.3, rate), lambda t: t.evidence)
            for rate in (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 1.0)
        ]
        assert means == sorted(means)
        assert means[2] < test.evidence < means[4]


def test_a_fraction_is_worth_the_mean_of_its_outcomes() -> None:
    for candidate in (False, True):
        tests = [_after(Harm(HORIZON), PASTS["mixed"], 0.3) for _ in range(3)]
        for test, bad in zip(tests, (0.0, 1.0, 0.25), strict=True):
            test.add(candidate=candidate, weight=0.3, bad=bad)
        good, worst, mixed = (test.evidence for test in tests)
        assert mixed == pytest.approx(0.75 * good + 0.25 * worst)


def test_the_money_of_the_new_beginnings_is_one_in_a_horizon() -> None:
    test = Harm(HORIZON)
    for _ in range(HORIZON):
        test.add(candidate=False, weight=0.5, bad=0.0)
    assert test.usual == pytest.approx(1.0)
    for _ in range(HORIZON):
        test.add(candidate=False, weight=0.5, bad=0.0)
    assert test.usual == pytest.approx(2.0)


@pytest.mark.parametrize("kind", HARMS)
def test_wealth_stays_positive_and_finite_whatever_comes(kind: str) -> None:
    rng = Random(3)
    for pattern in range(20):
        test = HARMS[kind]()
        for number in range(400):
            weight = rng.choice((0.001, 0.05, 0.5, 0.95, 0.999))
            bad = float(pattern % 2) if number < 200 else rng.choice((0.0, 1.0, rng.random()))
            test.add(candidate=rng.random() < 0.5, weight=weight, bad=bad)
            assert test.evidence > 0.0
            assert test.fresh > 0.0
    certain = HARMS[kind]()
    for number in range(6000):
        certain.add(candidate=number % 2 == 0, weight=0.5, bad=float(number % 2 == 0))
    assert 1e6 < certain.evidence < math.inf


def test_without_anybody_to_compare_with_nothing_is_learned() -> None:
    for test in (Harm(HORIZON), BoundedHarm(HORIZON), Safety([0.1], level=20.0)):
        before = deepcopy(test)
        for weight in (0.0, 1.0):
            test.add(candidate=True, weight=weight, bad=1.0)
        test.add(candidate=True, weight=0.5, bad=0.0)
        before.add(candidate=True, weight=0.5, bad=0.0)
        assert _state(test) == _state(before)


def _state(test: Any) -> list[float]:
    names = ("evidence", "fresh", "usual", "certified")
    found = [getattr(test, name) for name in names if hasattr(test, name)]
    return [*found, test.best(0.1)] if isinstance(test, Safety) else found


@pytest.mark.parametrize("margin", [0.05, 0.3, 1.0])
@pytest.mark.parametrize("past", ["nothing", "good", "mixed"])
def test_a_candidate_worse_by_the_margin_earns_no_certificate_on_average(
    margin: float, past: str
) -> None:
    for weight, rate in itertools.product(WEIGHTS, (0.0, 0.2, 0.7)):
        if rate + margin > 1.0:
            continue
        safety = _after(Safety([margin], level=math.inf), PASTS[past], weight)

        def value(test: Safety) -> float:
            wealth = test._open[0].wealth
            return sum(wealth) / len(wealth)

        mean = _expected(safety, weight, (rate, rate + margin), value)
        assert mean == pytest.approx(value(safety), rel=1e-9)
        assert _expected(safety, weight, (rate, rate), value) > value(safety)


def test_a_wide_margin_is_certified_before_a_narrow_one_and_stays_certified() -> None:
    rng, safety, seen = Random(1), Safety([0.05, 0.1, 0.5], level=20.0), []
    for _ in range(3000):
        candidate = rng.random() < 0.5
        safety.add(candidate=candidate, weight=0.5, bad=float(rng.random() < 0.1))
        seen.append(safety.certified)
    assert seen == sorted(seen, reverse=True)
    assert sorted(set(seen)) == [0.05, 0.1, 0.5, 1.0]
    for _ in range(500):
        safety.add(candidate=True, weight=0.5, bad=1.0)
    assert safety.certified == 0.05


def test_a_candidate_at_the_limit_earns_no_evidence_of_keeping_it() -> None:
    for limit in (0.05, 0.4, 0.9):
        start = Limit(limit)
        for bad in (0.0, 1.0, 0.5, 0.0):
            start.add(bad)
        good, bad_one = deepcopy(start), deepcopy(start)
        good.add(0.0)
        bad_one.add(1.0)
        assert 0.0 < bad_one.evidence < start.evidence < good.evidence
        mean = limit * bad_one.evidence + (1.0 - limit) * good.evidence
        assert mean == pytest.approx(start.evidence)
    assert start.estimate == pytest.approx(1.5 / 4)


def test_the_split_is_a_fair_game_for_every_weight() -> None:
    for weight in WEIGHTS:
        start = Mismatch()
        for candidate in (True, True, False, True):
            start.add(candidate=candidate, weight=0.3)
        mean = 0.0
        for candidate in (False, True):
            branch = deepcopy(start)
            branch.add(candidate=candidate, weight=weight)
            mean += (weight if candidate else 1.0 - weight) * branch.evidence
        assert mean == pytest.approx(start.evidence)


def test_pairs_are_a_fair_game_and_only_differing_ones_teach() -> None:
    harm = PairedHarm()
    harm.add(candidate_bad=True, incumbent_bad=True)
    assert harm.evidence == 1.0
    worse, better = deepcopy(harm), deepcopy(harm)
    worse.add(candidate_bad=True, incumbent_bad=False)
    better.add(candidate_bad=False, incumbent_bad=True)
    assert worse.evidence > 1.0
    assert (worse.evidence + better.evidence) / 2 == pytest.approx(1.0)
    safety = PairedSafety(0.05)
    for _ in range(30):
        safety.add(candidate_bad=0.0, incumbent_bad=0.0)
    certified = safety.best
    assert certified > 1.0
    for _ in range(300):
        safety.add(candidate_bad=1.0, incumbent_bad=0.0)
    assert safety.best == certified


def test_a_latency_is_compared_with_the_incumbents_before_it() -> None:
    recent = Latencies()
    for number in range(FEWEST - 1):
        recent.add(float(number))
        assert recent.over(0.95, 1e9) is None
    recent.add(1000.0)
    assert recent.over(0.95, 37.0) == 0.0
    assert recent.over(0.95, 37.5) == 1.0
    for _ in range(WINDOW):
        recent.add(1.0)
    assert recent.over(0.99, 1.5) == 1.0
    assert recent.over(0.99, 1.0) == 0.0


def test_averaged_evidence_is_a_mean() -> None:
    assert average([40.0, 1.0, 1.0, 0.0]) == 10.5
    assert math.inf > CEILING
