"""Where next to nothing fails, luck of long ago is no sign of harm, and one failure is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random

import pytest

from inhouse.rollout import truths
from inhouse.rollout.bars import Run, Verdict
from inhouse.rollout.direct import Direct
from inhouse.rollout.guardrails import Evidence
from inhouse.rollout.plan import Metric
from inhouse.rollout.scenarios import PLAN, Scenario
from inhouse.rollout.simulate import play
from inhouse.rollout.truths import Call

WEIGHT = 0.1
MARGIN = PLAN.margin_after(0)


def runs(calls: Callable[[Random], Iterator[Call]], count: int) -> list[Run]:
    scenario = Scenario(name="calm", truth="", calls=calls, bars=())
    return [play(scenario, Direct(scenario, f"{n}"), f"{n}") for n in range(count)]


@pytest.mark.parametrize("rate", [0.0, 0.0001, 0.001])
def test_models_that_hardly_ever_fail_are_promoted(rate: float) -> None:
    steady = truths.steady(rate)
    found = runs(truths.independent(steady, steady), 20)
    assert [one.verdict for one in found].count(Verdict.PROMOTED) >= 18
    assert not [one for one in found if one.because == "horizon"]


def test_one_early_failure_is_forgiven() -> None:
    def calls(rng: Random) -> Iterator[Call]:
        perfect = truths.steady(0.0)
        for number, call in enumerate(truths.independent(perfect, perfect)(rng)):
            yield call._replace(bad=(0.0, 1.0)) if number == 40 else call

    assert [one.verdict for one in runs(calls, 20)].count(Verdict.PROMOTED) >= 18


def test_a_candidate_that_breaks_after_a_perfect_past_is_caught() -> None:
    """It breaks before the first step can be taken, so none that is promoted got there before."""
    broken = truths.independent(truths.steady(0.0), truths.breaking(0.0, 0.1, 600))
    assert {one.verdict for one in runs(broken, 20)} == {Verdict.ROLLED_BACK}


def lucky(evidence: Evidence) -> None:
    """A thousand good answers, in an order that looks like harm: the candidate's come last."""
    for number in range(1000):
        evidence.answered(candidate=number >= 900, weight=WEIGHT, bad=0.0)


def test_a_failure_of_the_candidate_ends_the_calm() -> None:
    evidence = Evidence(PLAN)
    lucky(evidence)
    assert evidence.reading(MARGIN).fresh == 0.0
    evidence.answered(candidate=False, weight=WEIGHT, bad=1.0)
    assert evidence.reading(MARGIN).fresh == 0.0, "the incumbent's failures say nothing"
    evidence.answered(candidate=True, weight=WEIGHT, bad=1.0)
    assert evidence.reading(MARGIN).fresh > 0.0
    for _ in range(PLAN.step_outcomes - 1):
        evidence.answered(candidate=True, weight=WEIGHT, bad=0.0)
    assert evidence.reading(MARGIN).fresh > 0.0
    evidence.answered(candidate=True, weight=WEIGHT, bad=0.0)
    assert evidence.reading(MARGIN).fresh == 0.0


def test_where_failures_are_usual_all_evidence_stays() -> None:
    evidence = Evidence(PLAN)
    for number in range(1000):
        evidence.answered(candidate=number >= 900, weight=WEIGHT, bad=float(number % 150 == 1))
    reading = evidence.reading(MARGIN)
    assert reading.fresh > 0.0
    [success] = reading.guardrails
    assert (success.metric, success.fresh) == (Metric.SUCCESS, reading.fresh)


def test_degrees_are_rare_where_there_was_none_at_all() -> None:
    evidence = Evidence(PLAN, by_user=True)
    lucky(evidence)
    assert evidence.reading(MARGIN).fresh == 0.0
    evidence.answered(candidate=False, weight=WEIGHT, bad=0.2)
    assert evidence.reading(MARGIN).fresh > 0.0
