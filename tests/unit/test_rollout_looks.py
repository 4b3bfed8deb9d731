"""Boundaries of group-sequential tests: those that were published, and what they promise."""

from __future__ import annotations

import itertools
import math
from random import Random

import pytest

from inhouse.core.errors import Invalid
from inhouse.rollout import looks
from inhouse.rollout.bars import at_least
from inhouse.rollout.findings import (
    Findings,
    Question,
    catastrophe,
    is_due,
    is_over,
    look,
    progress,
    recommend,
)
from inhouse.rollout.tally import Seen
from inhouse.rollout.trial import Measure, Sums, Trial, contrast

ALPHA = 0.05


def even(count: int) -> list[float]:
    return [(k + 1) / count for k in range(count)]


def boundaries(count: int, alpha: float = ALPHA) -> list[float]:
    times = even(count)
    return looks.boundaries(times, [looks.spent(alpha, time) for time in times])


@pytest.mark.parametrize(
    ("count", "published"),
    [
        # Reboussin, DeMets, Kim, Lan 2000 (program ld98) and R packages ldbounds, gsDesign.
        (1, [1.95996]),
        (2, [2.963, 1.969]),
        (5, [4.877, 3.357, 2.680, 2.290, 2.031]),
    ],
)
def test_boundaries_like_o_brien_and_fleming(count: int, published: list[float]) -> None:
    assert boundaries(count) == pytest.approx(published, abs=6e-4)


def test_boundaries_like_pocock() -> None:
    """The same recursion with another way to spend: alpha ln(1 + (e - 1) t), Lan and DeMets."""
    times = even(5)
    used = [ALPHA * math.log(1.0 + (math.e - 1.0) * time) for time in times]
    published = [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]
    assert looks.boundaries(times, used) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize(
    ("count", "pocock", "fleming"), [(1, 1.960, 1.960), (2, 2.178, 1.977), (5, 2.413, 2.040)]
)
def test_constants_of_jennison_and_turnbull(count: int, pocock: float, fleming: float) -> None:
    """Tables 2.1 and 2.3 of Group Sequential Methods (2000), alpha 0.05."""
    same = [pocock] * count
    assert sum(looks.crossings(even(count), same)) == pytest.approx(ALPHA, abs=2e-4)
    falling = [fleming * math.sqrt(count / (k + 1)) for k in range(count)]
    assert sum(looks.crossings(even(count), falling)) == pytest.approx(ALPHA, abs=2e-4)


@pytest.mark.parametrize("times", [[0.05, 0.08, 0.5, 0.975, 1.0], [0.5, 1.2], even(20)])
def test_looks_at_any_moments_use_up_alpha(times: list[float]) -> None:
    bounds = looks.boundaries(times, [looks.spent(ALPHA, time) for time in times])
    upper, lower = looks.crossings(times, bounds)
    assert upper + lower == pytest.approx(ALPHA, abs=1e-6)
    assert upper == pytest.approx(lower)


def test_what_uses_up_nothing_finds_nothing() -> None:
    assert looks.spent(ALPHA, 0.0) == 0.0
    assert looks.boundaries([1.0, 2.0], [0.0, ALPHA]) == [
        math.inf,
        pytest.approx(1.95996, abs=1e-4),
    ]
    with pytest.raises(ValueError, match="rise"):
        looks.boundaries([2.0, 2.0], [0.01, ALPHA])


def test_the_horizon_of_a_plan() -> None:
    """A single look needs what every textbook says; five need 2 to 3 % more."""
    plan = {"effect": 0.03, "rate": 0.9, "weight": 0.5, "alpha": ALPHA, "power": 0.8}
    fixed = (1.959964 + 0.841621) ** 2 * 2.0 * (0.09 + 0.87 * 0.13) / 0.03**2
    assert looks.needed_horizon(looks=1, **plan) == pytest.approx(fixed, abs=2)
    assert looks.needed_horizon(looks=5, **plan) == pytest.approx(1.0247 * fixed, rel=1e-3)
    most = looks.needed_horizon(effect=0.9, rate=0.05, weight=0.5, looks=5, alpha=0.05, power=0.8)
    assert most == 5 * looks.FEWEST_PER_LOOK
    slow = looks.needed_horizon(effect=0.1, spread=0.4, weight=0.2, looks=1, alpha=ALPHA, power=0.9)
    assert slow == pytest.approx((1.959964 + 1.281552) ** 2 * 0.16 * 6.25 / 0.01, abs=2)
    for wrong in ({"rate": None}, {"spread": 0.3}, {"effect": 1.5}):
        with pytest.raises(Invalid):
            looks.needed_horizon(looks=5, **{**plan, **wrong})
    for large in (
        {"effect": 1e-6},
        {"rate": None, "spread": 1e300},
        {"rate": None, "spread": math.inf},
    ):
        with pytest.raises(Invalid, match="more than 10,000,000"):
            looks.needed_horizon(looks=5, **{**plan, **large})


def asked(horizon: int = 1000, metric: Measure = Measure.SUCCESS, count: int = 5) -> Question:
    return Question(
        task="tone",
        a="embedded/one",
        b="embedded/two",
        weight_bp=5000,
        metric=metric,
        horizon=horizon,
        looks=count,
        alpha=ALPHA,
    )


def run(rnd: Random, rate_a: float, rate_b: float, question: Question) -> Findings:
    """An experiment whose looks come a little late."""
    found, batch = Findings(by_user=False), rnd.choice((30, 90, 130))
    a, b = Sums(), Sums()
    while not found.looks or not is_over(question, found):
        for _ in range(batch):
            if rnd.random() < 0.5:
                b.add(float(rnd.random() < rate_b))
            else:
                a.add(float(rnd.random() < rate_a))
        if is_due(question, found.looks, a.count + b.count):
            trial = Trial(question.metric, horizon=question.horizon, by_user=False)
            trial.a, trial.b = a, b
            found = look(question, progress(found, trial), contrast(a, b, binary=True), "")
    return found


@pytest.mark.parametrize("rate", [0.9, 0.98])
def test_equal_arms_have_a_winner_in_alpha_of_the_experiments(rate: float) -> None:
    rnd, runs = Random(5), 400
    found = [run(rnd, rate, rate, asked()) for _ in range(runs)]
    wrong = sum(one.winner is not None for one in found)
    assert at_least(wrong, runs, ALPHA) > 0.001
    assert max(len(one.looks) for one in found) <= 5


def test_a_difference_is_found_as_often_as_was_planned() -> None:
    rnd, runs = Random(6), 200
    horizon = looks.needed_horizon(
        effect=0.1, rate=0.9, weight=0.5, looks=5, alpha=ALPHA, power=0.8
    )
    found = [run(rnd, 0.9, 0.8, asked(horizon)) for _ in range(runs)]
    right = sum(one.winner == "a" for one in found)
    assert at_least(runs - right, runs, 0.2) > 0.001
    assert at_least(right, runs, 0.8) > 0.001
    inside = sum(
        last.low is not None and last.high is not None and last.low <= -0.1 <= last.high
        for last in (one.looks[-1] for one in found)
    )
    assert at_least(runs - inside, runs, ALPHA) > 0.001


_numbers = itertools.count()


def seen(*, is_b: bool, bad: bool = False, unit: str = "", latency_s: float = 0.1) -> Seen:
    return Seen("g1", 1, is_b, 5000, bad, None, latency_s, unit or f"u{next(_numbers)}")


def test_the_moments_of_looks() -> None:
    question, none = asked(), Findings(by_user=False)
    assert next(count for count in range(1001) if is_due(question, (), count)) == 200
    trial = Trial(Measure.SUCCESS, horizon=1000, by_user=False)
    for number in range(390):
        trial.outcome(seen(is_b=number % 2 == 0))
    late = look(question, progress(none, trial), trial.contrast(), "").looks
    due = [count for count in range(390, 1001) if is_due(question, late, count)]
    assert due[0] == 490
    assert not {count for count in due if 900 < count < 1000}
    assert late[0].fraction == 0.39
    assert late[0].z == 0.0


def test_users_count_once() -> None:
    trial = Trial(Measure.SUCCESS, horizon=1000, by_user=True)
    for _ in range(7):
        trial.outcome(seen(is_b=True, bad=True, unit="ada"))
        trial.outcome(seen(is_b=False, unit="bob"))
    assert (trial.a.count, trial.b.count, trial.b.mean, trial.a.mean) == (1, 1, 0.0, 1.0)
    slow = Trial(Measure.LATENCY, horizon=1000, by_user=True)
    for _ in range(25):
        slow.outcome(seen(is_b=True, unit="ada", latency_s=2.0))
    assert (slow.b.count, slow.b.mean, slow.a.mean) == (1, 2.0, None)


def test_a_unit_that_is_named_again_counts_once() -> None:
    trial = Trial(Measure.SUCCESS, horizon=1000, by_user=False)
    for bad in (False, True, True):
        trial.outcome(seen(is_b=True, bad=bad, unit="ada"))
    assert (trial.b.count, trial.b.mean) == (1, 1.0)
    right = Trial(Measure.CORRECT, horizon=1000, by_user=False)
    for error in (0.0, 1.0):
        right.label(unit="ada", candidate=True, weight_bp=5000, error=error)
    assert (right.b.count, right.b.mean) == (1, 1.0)


def test_labels_and_latencies() -> None:
    right, error = (
        Trial(metric, horizon=1000, by_user=False) for metric in (Measure.CORRECT, Measure.ERROR)
    )
    for trial in (right, error):
        trial.outcome(seen(is_b=True))
        trial.label(unit="x", candidate=True, weight_bp=5000, error=0.2)
        trial.label(unit="y", candidate=True, weight_bp=5000, error=0.0)
        trial.label(unit="z", candidate=False, weight_bp=5000, error=1.0)
        assert trial.count == 3
    assert (right.a.mean, right.b.mean) == (0.0, 0.5)
    assert (error.a.mean, error.b.mean) == (1.0, 0.1)
    assert right.contrast() is None
    success = Trial(Measure.SUCCESS, horizon=1000, by_user=False)
    success.label(unit="x", candidate=True, weight_bp=5000, error=0.2)
    success.outcome(seen(is_b=True)._replace(paired_bad=False))
    assert success.count == 0


def test_labels_that_are_all_alike_are_not_too_few() -> None:
    question = asked(horizon=200, metric=Measure.ERROR)
    trial = Trial(Measure.ERROR, horizon=200, by_user=False)
    for number in range(200):
        is_b = number % 2 == 0
        trial.label(unit=f"{number}", candidate=is_b, weight_bp=5000, error=0.0)
    found = look(question, progress(Findings(by_user=False), trial), trial.contrast(), "")
    assert is_over(question, found)
    said = recommend(question, found, "embedded/one")
    assert said.startswith("the error of each arm was always the same"), said


def test_either_arm_may_be_the_catastrophe() -> None:
    for worse in (False, True):
        trial = Trial(Measure.SUCCESS, horizon=1000, by_user=False)
        for number in range(120):
            is_b = number % 2 == 0
            trial.outcome(seen(is_b=is_b, bad=is_b is worse))
        assert trial.harm(to_b=worse) > 1000.0
        assert trial.harm(to_b=not worse) < 20.0
        assert trial.is_catastrophe(to_b=worse)
        assert not trial.is_catastrophe(to_b=not worse)
        assert trial.mismatch < 20.0


def test_a_split_that_is_not_the_declared_one() -> None:
    trial = Trial(Measure.SUCCESS, horizon=1000, by_user=False)
    for number in range(200):
        trial.outcome(seen(is_b=number % 5 == 0))
    why = catastrophe(asked(), trial)
    assert why is not None
    assert why.startswith("calls do not fall to the arms")
    assert catastrophe(asked(), Trial(Measure.ERROR, horizon=1000, by_user=True)) is None


def test_a_small_difference_is_left_to_the_looks() -> None:
    trial = Trial(Measure.SUCCESS, horizon=100_000, by_user=False)
    for number in range(6000):
        trial.outcome(seen(is_b=number % 2 == 0, bad=number % 20 == 0))
    assert trial.harm(to_b=True) > 1000.0
    assert catastrophe(asked(), trial) is None
    for number in range(100):
        trial.outcome(seen(is_b=number % 2 == 0, bad=number % 2 == 0))
    assert catastrophe(asked(), trial) is not None
