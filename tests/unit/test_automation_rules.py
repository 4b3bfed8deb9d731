"""The rules of automation: when a task is trained again, and when a version is rolled out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from inhouse.automation.steps import Rules, Since, Step, Verb, What, outdated
from inhouse.automation.when_to_roll_out import (
    Against,
    Contest,
    Judged,
    Standing,
    is_worth_it,
    next_rollout,
    obstacle,
)
from inhouse.automation.when_to_train import Drifted, LastRun, Learning, next_training

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = Rules()
DAY = timedelta(days=1)


def ran(ago: timedelta, *, is_over: bool = True) -> LastRun:
    return LastRun(id="run", created_at=NOW - ago, is_over=is_over)


TRAINED = Learning(trained=True, settled_at=NOW - DAY, last=ran(DAY), newest="run")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (Learning(new=100), "at least 100 examples and no own model yet (retrain_after 100)"),
        (
            replace(TRAINED, new=100),
            "at least 100 new examples since 2026-02-28 12:00 (retrain_after 100)",
        ),
        (
            replace(TRAINED, settled_at=NOW - 8 * DAY, last=ran(8 * DAY), new=1),
            "8 days since 2026-02-21 12:00, 1 new examples",
        ),
        (
            replace(TRAINED, new=2, drift=Drifted(at=NOW, inputs=0.31, outputs=None)),
            "drift on 2026-03-01 12:00 (inputs 0.31), 2 new examples",
        ),
    ],
)
def test_reasons_to_train(found: Learning, why: str) -> None:
    step = next_training(found, RULES, NOW)
    assert (step.verb, step.what, step.why) == (Verb.PROPOSE, What.TRAIN, why)
    assert step.based_on == (found.newest or "-")
    assert step.evidence["new"] == found.new


@pytest.mark.parametrize(
    ("found", "rules", "why"),
    [
        (Learning(fault="no recipe"), RULES, "no recipe"),
        (Learning(), RULES, "nothing new to learn from"),
        (Learning(new=99), RULES, "99 of 100 new examples"),
        (Learning(new=99), Rules(retrain_after=0), "99 new examples"),
        (replace(TRAINED, new=500, pending="it waits"), RULES, "it waits"),
        (replace(TRAINED, new=500, last=ran(DAY, is_over=False)), RULES, "has not ended"),
        (replace(TRAINED, settled_at=NOW - 30 * DAY), RULES, "nothing new to learn from since"),
        (
            replace(TRAINED, settled_at=NOW - 30 * DAY, new=5),
            Rules(retrain_days=0),
            "5 of 100 new examples",
        ),
        (
            replace(TRAINED, drift=Drifted(at=NOW, inputs=1.0, outputs=1.0)),
            RULES,
            "nothing new to learn from",
        ),
        (
            replace(TRAINED, new=5, drift=Drifted(at=NOW - 2 * DAY, inputs=1.0, outputs=None)),
            RULES,
            "5 of 100",
        ),
        (
            replace(TRAINED, new=5, drift=Drifted(at=NOW, inputs=1.0, outputs=None)),
            Rules(retrain_on_drift=False),
            "5 of 100",
        ),
    ],
)
def test_reasons_to_wait_with_training(found: Learning, rules: Rules, why: str) -> None:
    step = next_training(found, rules, NOW)
    assert step.verb is Verb.WAIT
    assert why in step.why


@pytest.mark.parametrize(("failures", "hours"), [(0, 1), (1, 2), (3, 8), (40, 7 * 24)])
def test_failed_runs_put_the_next_one_off(failures: int, hours: int) -> None:
    found = replace(TRAINED, new=500, failures=failures)
    early = replace(found, last=ran(timedelta(hours=hours) - timedelta(seconds=1)))
    late = replace(found, last=ran(timedelta(hours=hours)))
    step = next_training(early, RULES, NOW)
    assert step.verb is Verb.WAIT
    assert "not before 2026-03-01 12:00" in step.why
    assert (f"the last {failures} runs failed" in step.why) == bool(failures)
    assert next_training(late, RULES, NOW).verb is Verb.PROPOSE


GOOD = Against(other="up/a", difference=0.08, low=0.02, high=0.14, score=0.8)
EVEN = replace(GOOD, difference=0.005, low=-0.01, high=0.02)
FAST = {"own_p50_ms": (1.0, 2.0), "other_p50_ms": (90.0, 110.0)}


@pytest.mark.parametrize(
    ("against", "worth", "why"),
    [
        (GOOD, True, "better than up/a: +0.080 [+0.020, +0.140], +10.0% relative"),
        (replace(GOOD, score=0.0), True, "better than up/a"),
        (replace(GOOD, difference=0.03, low=0.001), False, "not better than up/a by 5%"),
        (replace(GOOD, low=-0.001), False, "not better than up/a by 5%"),
        (EVEN, False, "and neither faster nor cheaper"),
        (replace(EVEN, cost_per_call=0.0), False, "and neither faster nor cheaper"),
        (replace(EVEN, cost_per_call=0.002), True, "and cheaper (0.002 a call saved)"),
        (replace(EVEN, **FAST), True, "and faster (1.0-2.0 ms, not 90.0-110.0)"),
        (
            replace(EVEN, own_p50_ms=(50.0, 95.0), other_p50_ms=(90.0, 110.0)),
            False,
            "neither faster",
        ),
        (
            replace(EVEN, low=-0.02, cost_per_call=1.0, **FAST),
            False,
            "not certified not worse than up/a",
        ),
    ],
)
def test_what_is_worth_a_rollout(against: Against, worth: bool, why: str) -> None:
    found, said, evidence = is_worth_it(against, 0.02, 0.05)
    assert (found, why in said) == (worth, True), said
    assert evidence["low"] == against.low


STANDING = Standing(serving="up/a", since=NOW - DAY)
JUDGED = Judged(id="e1", at=NOW, verdict="pass", against=GOOD)
CONTEST = Contest(reference="tone@2", number=2, standing=STANDING, judged=JUDGED)


def test_a_version_that_is_better_is_proposed() -> None:
    step = next_rollout(CONTEST, RULES)
    assert (step.verb, step.what, step.about) == (Verb.PROPOSE, What.ROLL_OUT, "tone@2")
    assert (step.based_on, step.evidence["difference"]) == ("e1", 0.08)
    assert step.why.startswith("tone@2 is better than up/a")


def judged(**changes: object) -> Contest:
    return replace(CONTEST, judged=replace(JUDGED, **changes))


@pytest.mark.parametrize(
    ("found", "verb", "why"),
    [
        (None, Verb.WAIT, "no candidate"),
        (replace(CONTEST, never="it was rolled back"), Verb.WAIT, "never started by itself"),
        (replace(CONTEST, evaluating=True), Verb.WAIT, "is being evaluated"),
        (replace(CONTEST, judged=None), Verb.WAIT, "has no evaluation"),
        (replace(CONTEST, settled="declined by ada"), Verb.WAIT, "declined by ada"),
        (judged(error="no route"), Verb.WAIT, "could not be evaluated: no route"),
        (
            judged(verdict="inconclusive", reasons=("too few",)),
            Verb.REFUSE,
            "its gate says inconclusive: too few",
        ),
        (judged(against=EVEN), Verb.REFUSE, "not better than up/a"),
        (
            replace(CONTEST, standing=replace(STANDING, pin="up/b")),
            Verb.WAIT,
            "the route is pinned to up/b",
        ),
        (judged(against=None), Verb.REFUSE, "was not compared with up/a, which answers now"),
        (
            replace(judged(against=None), standing=Standing(serving="")),
            Verb.REFUSE,
            "nothing answers the task yet",
        ),
    ],
)
def test_what_else_is_concluded_of_a_version(found: Contest | None, verb: Verb, why: str) -> None:
    step = next_rollout(found, RULES)
    assert step.verb is verb
    assert why in step.why


def test_a_version_is_evaluated_again_once_when_another_answers_by_now() -> None:
    moved = replace(STANDING, serving="tone@1", since=NOW + DAY)
    found = replace(judged(against=None), standing=moved)
    step = next_rollout(found, RULES)
    assert (step.verb, step.what, step.about) == (Verb.PROPOSE, What.EVALUATE, "tone@2")
    assert next_rollout(replace(found, asked_again="it is asked for"), RULES).verb is Verb.WAIT


@pytest.mark.parametrize(
    ("standing", "why"),
    [
        (STANDING, ""),
        (replace(STANDING, split="30 % to up/b"), "a person gives 30 % to up/b"),
        (replace(STANDING, owner="experiment"), "an experiment has the split"),
        (Standing(serving=""), "nothing answers the task yet"),
        (replace(STANDING, owner="rollout", ramping="tone@1", state="ramping", number=1), ""),
        (replace(STANDING, owner="rollout", ramping="tone@1", state="shadowing", number=1), ""),
        (replace(STANDING, owner="rollout", ramping="tone@1", state="held", number=1), ""),
        (
            replace(STANDING, owner="rollout", ramping="tone@1", state="paused", number=1),
            "a person paused the rollout of tone@1",
        ),
        (
            replace(STANDING, owner="rollout", ramping="tone@1", state="baking", number=1),
            "the rollout of tone@1 is baking",
        ),
        (
            replace(STANDING, owner="rollout", ramping="tone@3", state="ramping", number=3),
            "tone@3 is being rolled out",
        ),
        (
            replace(STANDING, owner="rollout", ramping="up/b", state="ramping", number=0),
            "up/b is being rolled out",
        ),
    ],
)
def test_what_keeps_a_rollout_from_beginning(standing: Standing, why: str) -> None:
    assert obstacle(standing, 2) == why


@pytest.mark.parametrize(
    ("what", "since", "why"),
    [
        (What.TRAIN, Since(), ""),
        (What.TRAIN, Since(run=True), "a training run was started meanwhile"),
        (What.ROLL_OUT, Since(), ""),
        (What.ROLL_OUT, Since(status="rejected"), "tone@2 is rejected"),
        (What.ROLL_OUT, Since(judged_again=True), "tone@2 was evaluated again"),
        (What.ROLL_OUT, Since(compared=False), "tone@2 was not compared with what answers now"),
        (What.EVALUATE, Since(compared=False), ""),
        (What.EVALUATE, Since(judged_again=True), "tone@2 was evaluated again"),
    ],
)
def test_what_makes_a_proposal_outdated(what: What, since: Since, why: str) -> None:
    assert outdated(what, "tone@2", since) == why


def test_a_step_that_waits_proposes_nothing() -> None:
    assert Step(verb=Verb.WAIT, why="because").evidence == {}
