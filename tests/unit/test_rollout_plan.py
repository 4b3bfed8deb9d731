"""Plans, decisions and users: the policy, value by value."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

import pytest

from inhouse.core.errors import Conflict, Invalid
from inhouse.rollout.decide import Decision, Kind, Standing, decide, decide_shadow
from inhouse.rollout.guardrails import Evidence, Reading, ShadowReading, ThresholdReading
from inhouse.rollout.plan import ROLLOUTS, Metric, Plan, RolloutState
from inhouse.rollout.tally import Seen, Tally
from inhouse.rollout.users import UserMean, UserMeans

PLAN = Plan(min_success=None, max_p95_s=None)
READY = Reading(
    outcomes=1500,
    candidate=300,
    harm=0.2,
    fresh=0.1,
    usual=0.7,
    mismatch=0.5,
    certificate=25.0,
    thresholds=(),
    guardrails=(),
)
RAMPING = Standing(RolloutState.RAMPING, 2, candidate_before=200, step_s=400.0, age_s=4000.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"steps_bp": ()},
        {"steps_bp": (1000, 500, 10_000)},
        {"steps_bp": (1000, 5000)},
        {"steps_bp": (0, 10_000)},
        {"margin": 0.0},
        {"margin": 1.0},
        {"false_rollback": 0.0},
        {"horizon": 0},
        {"hold_back_bp": 10_000},
        {"min_success": 1.0},
        {"min_score": 0.0},
        {"max_p95_s": 0.0},
        {"guardrails": ()},
        {"promote_on": ()},
        {"observed": (Metric.P95,)},
        {"promote_on": (Metric.ERROR,)},
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as caught:
        Plan(**changes)
    assert caught.value.code == "rollout-plan"


def test_the_margin_asked_for_bounds_the_calls_that_are_spoiled() -> None:
    for step in range(len(PLAN.steps_bp) - 1):
        following = PLAN.steps_bp[step + 1] / 10_000
        assert PLAN.margin_after(step) * following == pytest.approx(PLAN.margin)
    assert Plan(steps_bp=(10_000,)).margins == (0.05,)
    assert Plan(margin=0.5).margin_after(0) == 1.0
    assert [PLAN.weight_bp(step) for step in (0, 6, 7)] == [1000, 9000, 9500]


def test_only_the_steps_of_the_table_are_allowed() -> None:
    ROLLOUTS.check(RolloutState.RAMPING, RolloutState.HELD)
    ROLLOUTS.check(RolloutState.HELD, RolloutState.ROLLED_BACK)
    for current, target in (
        (RolloutState.PLANNED, RolloutState.BAKING),
        (RolloutState.RAMPING, RolloutState.DONE),
        (RolloutState.HELD, RolloutState.DONE),
        (RolloutState.ROLLED_BACK, RolloutState.RAMPING),
    ):
        with pytest.raises(Conflict):
            ROLLOUTS.check(current, target)
    ends = {state for state in RolloutState if ROLLOUTS.is_final(state)}
    assert ends == {RolloutState.DONE, RolloutState.ROLLED_BACK, RolloutState.ABORTED}


def test_a_step_is_taken_when_all_its_conditions_are_met() -> None:
    decision = decide(PLAN, RAMPING, READY)
    assert (decision.kind, decision.step, decision.weight_bp) == (Kind.ADVANCE, 3, 6000)
    assert "100 outcomes of the candidate at this step, at least 50" in decision.reasons
    assert decision.evidence["certificate"] == 25.0
    last = decide(PLAN, RAMPING._replace(step=6), READY)
    assert (last.kind, last.state, last.weight_bp) == (Kind.BAKE, RolloutState.BAKING, 9500)


def test_reasons_leave_out_what_asks_for_nothing_and_write_numbers_out() -> None:
    plan = Plan(dwell_s=0.0, step_outcomes=0)
    ready = READY._replace(certificate=1046.2, fresh=0.0000012)
    assert decide(plan, RAMPING, ready).reasons[:2] == (
        "evidence that the candidate is not worse by more than the margin: 1,046, at least 20",
        "no sign of fresh harm: under 0.001, must stay below 0.7",
    )
    harm = decide(PLAN, RAMPING, READY._replace(harm=3e9)).reasons
    assert harm == ("the candidate is worse than the incumbent: evidence over 1,000,000, limit 20",)


@pytest.mark.parametrize(
    ("changes", "standing", "missing"),
    [
        ({"candidate": 249}, {}, "outcomes"),
        ({}, {"step_s": 299.0}, "dwell"),
        ({"certificate": 19.9}, {}, "certificate"),
        ({"fresh": 0.7}, {}, "calm"),
    ],
)
def test_what_is_missing_is_said(
    changes: dict[str, Any], standing: dict[str, Any], missing: str
) -> None:
    decision = decide(PLAN, RAMPING._replace(**standing), READY._replace(**changes))
    assert (decision.kind, decision.weight_bp) == (Kind.WAIT, 5000)
    assert [check.name for check in decision.missing] == [missing]
    assert len(decision.reasons) == 1


def test_the_first_step_waits_for_more_outcomes_and_a_rollback_for_none() -> None:
    first = Standing(RolloutState.RAMPING, 0, step_s=400.0)
    assert decide(PLAN, first, READY._replace(candidate=99)).kind is Kind.WAIT
    assert decide(PLAN, first, READY._replace(candidate=100)).kind is Kind.ADVANCE
    early = READY._replace(outcomes=12, candidate=2, harm=20.0)
    decision = decide(PLAN, first, early)
    assert (decision.kind, decision.weight_bp) == (Kind.ROLL_BACK, 0)
    assert decision.reasons == ("the candidate is worse than the incumbent: evidence 20, limit 20",)


@pytest.mark.parametrize("state", ["ramping", "held", "paused", "baking"])
def test_harm_rolls_back_in_every_state_with_traffic(state: str) -> None:
    standing = RAMPING._replace(state=RolloutState(state))
    decision = decide(PLAN, standing, READY._replace(harm=31.0, mismatch=500.0))
    assert (decision.kind, decision.weight_bp, decision.alert) == (Kind.ROLL_BACK, 0, True)


@pytest.mark.parametrize("state", ["held", "paused"])
def test_nothing_moves_forward_while_held_or_paused(state: str) -> None:
    decision = decide(PLAN, RAMPING._replace(state=RolloutState(state)), READY)
    assert (decision.kind, decision.state.value, decision.weight_bp) == (Kind.WAIT, state, 5000)


@pytest.mark.parametrize("state", ["planned", "shadowing", "done", "rolled_back", "aborted"])
def test_without_traffic_there_is_nothing_to_decide(state: str) -> None:
    standing = RAMPING._replace(state=RolloutState(state))
    decision = decide(PLAN, standing, READY._replace(harm=1e9))
    assert (decision.kind, decision.weight_bp) == (Kind.WAIT, 0)


@pytest.mark.parametrize(
    ("changes", "standing", "name"),
    [
        ({"mismatch": 200.0}, {}, "mismatch"),
        ({"outcomes": 20_000}, {}, "horizon"),
        ({}, {"age_s": 31 * 86_400.0}, "time"),
    ],
)
def test_what_is_inconclusive_holds_and_alerts_and_is_never_shipped(
    changes: dict[str, Any], standing: dict[str, Any], name: str
) -> None:
    decision = decide(PLAN, RAMPING._replace(**standing), READY._replace(**changes))
    assert (decision.kind, decision.state) == (Kind.HOLD, RolloutState.HELD)
    assert (decision.step, decision.weight_bp, decision.alert) == (2, 5000, True)
    assert [check.name for check in decision.because] == [name]


def test_the_bake_period_ends_when_it_is_over_and_calm() -> None:
    baking = Standing(RolloutState.BAKING, 7, step_s=86_400.0)
    assert decide(PLAN, baking._replace(step_s=86_399.0), READY).kind is Kind.WAIT
    assert decide(PLAN, baking, READY._replace(fresh=0.9)).kind is Kind.WAIT
    done = decide(PLAN, baking, READY._replace(outcomes=50_000))
    assert (done.kind, done.state, done.weight_bp) == (Kind.FINISH, RolloutState.DONE, 10_000)


def test_a_newer_candidate_sends_the_older_back_to_the_incumbent() -> None:
    for decision in (
        decide(PLAN, RAMPING._replace(superseded=True), READY),
        _shadow(ShadowReading(10, 1.0, 1.0), superseded=True),
    ):
        assert (decision.kind, decision.state) == (Kind.ABORT, RolloutState.ABORTED)
        assert decision.weight_bp == 0


def test_a_threshold_needs_its_estimate_at_every_step_and_certainty_at_the_last() -> None:
    plan = replace(PLAN, min_success=0.95)
    kept = READY._replace(
        thresholds=(ThresholdReading("min_success", 300, 0.02, 0.05, evidence=900.0),)
    )
    assert decide(plan, RAMPING, kept).kind is Kind.ADVANCE
    before_last = decide(plan, RAMPING._replace(step=6), kept)
    assert [check.name for check in before_last.missing] == ["min_success certified"]
    broken = READY._replace(
        thresholds=(ThresholdReading("min_success", 300, 0.07, 0.05, evidence=1e9),)
    )
    decision = decide(plan, RAMPING, broken)
    assert decision.reasons == ("failed calls of the candidate: 7.0%, at most 5.0%",)


def _shadow(reading: ShadowReading, *, superseded: bool = False) -> Decision:
    plan = replace(PLAN, shadow_inputs=1000)
    return decide_shadow(plan, Standing(RolloutState.SHADOWING, 0, superseded=superseded), reading)


def test_a_shadow_ramps_ends_holds_or_waits() -> None:
    assert _shadow(ShadowReading(50, 20.0, 1.0)).state is RolloutState.ROLLED_BACK
    ramp = _shadow(ShadowReading(50, 1.0, 20.0))
    assert (ramp.state, ramp.weight_bp) == (RolloutState.RAMPING, 1000)
    held = _shadow(ShadowReading(1000, 1.0, 19.0))
    assert (held.state, held.weight_bp, held.alert) == (RolloutState.HELD, 0, True)
    assert _shadow(ShadowReading(999, 1.0, 19.0)).kind is Kind.WAIT


def _events(evidence: Evidence, seed: int, calls: int) -> Evidence:
    rng = Random(seed)
    for _ in range(calls):
        arm, weight = rng.random() < 0.3, 0.3
        evidence.assigned(candidate=arm, weight=weight)
        evidence.answered(candidate=arm, weight=weight, bad=float(rng.random() < 0.1))
        evidence.took(candidate=arm, weight=weight, latency_s=rng.random())
        if rng.random() < 0.2:
            evidence.labelled(candidate=arm, weight=weight, error=float(rng.random() < 0.1))
    return evidence


def test_events_read_again_give_the_same_evidence() -> None:
    plan = Plan(guardrails=(*Plan().guardrails, Metric.ERROR), min_score=0.8)
    margin = plan.margin_after(0)
    first = _events(Evidence(plan), 1, 400).reading(margin)
    assert _events(Evidence(plan), 1, 400).reading(margin) == first
    assert _events(Evidence(plan), 2, 400).reading(margin) != first
    assert {one.name for one in first.thresholds} == {"min_success", "max_p95_s", "min_score"}
    assert all(one.outcomes for one in first.guardrails)


def test_a_guardrail_that_is_only_observed_decides_nothing() -> None:
    plan = Plan(guardrails=(Metric.SUCCESS,), observed=(Metric.CORRECT,))
    evidence = Evidence(plan)
    for number in range(200):
        arm = number % 2 == 0
        evidence.answered(candidate=arm, weight=0.5, bad=0.0)
        evidence.labelled(candidate=arm, weight=0.5, error=float(arm))
    reading = evidence.reading(plan.margin_after(0))
    seen = {one.metric: one for one in reading.guardrails}
    assert seen[Metric.CORRECT].harm > 1e6
    assert reading.harm == seen[Metric.SUCCESS].harm < 20.0


def test_guardrails_that_act_are_averaged() -> None:
    plan = Plan(guardrails=(Metric.SUCCESS, Metric.CORRECT))
    evidence = Evidence(plan)
    for number in range(60):
        evidence.answered(candidate=number % 2 == 0, weight=0.5, bad=float(number % 2 == 0))
    reading = evidence.reading(plan.margin_after(0))
    harm, untouched = (one.harm for one in reading.guardrails)
    assert (reading.harm, untouched) == ((harm + 1.0) / 2.0, 1.0)


def test_a_user_counts_once_with_the_mean_of_the_first_calls() -> None:
    users = UserMeans(calls=3)
    for bad in (1.0, 0.0):
        assert users.add("a", candidate=True, weight=0.3, bad=bad) == []
    assert users.add("a", candidate=True, weight=0.3, bad=0.0) == [UserMean(True, 0.3, 1 / 3)]
    for _ in range(10):
        assert users.add("a", candidate=True, weight=0.3, bad=1.0) == []


def test_who_calls_seldom_is_counted_when_enough_others_wait() -> None:
    """The one that has waited longest leaves, and nobody twice; all calls of a candidate may fail,
    each of another user's."""
    users = UserMeans(calls=3, waiting=2)
    assert users.add("a", candidate=True, weight=0.3, bad=1.0) == []
    assert users.add("b", candidate=False, weight=0.3, bad=0.0) == []
    assert users.add("a", candidate=True, weight=0.3, bad=0.0) == []
    assert users.add("c", candidate=True, weight=0.3, bad=1.0) == [UserMean(True, 0.3, 0.5)]
    assert users.add("a", candidate=True, weight=0.3, bad=0.0) == []
    assert users.add("d", candidate=True, weight=0.3, bad=1.0) == [UserMean(False, 0.3, 0.0)]
    tally = Tally(Plan(guardrails=(Metric.SUCCESS,)), by_user=True)
    for number in range(300):
        arm = bool(number % 2)
        tally.outcome(Seen("p", number, arm, 5000, arm, None, 0.1, f"user {number}"))
    assert tally.reading(0.05).harm > 20.0


def test_a_change_of_the_weight_closes_both_arms_alike() -> None:
    users = UserMeans(calls=3)
    users.add("a", candidate=False, weight=0.3, bad=1.0)
    users.add("b", candidate=True, weight=0.3, bad=0.0)
    closed = users.add("a", candidate=True, weight=0.5, bad=0.0)
    assert closed == [UserMean(False, 0.3, 1.0), UserMean(True, 0.3, 0.0)]
    for _ in range(3):
        assert users.add("b", candidate=True, weight=0.5, bad=0.0) == []
    users.add("c", candidate=True, weight=0.5, bad=1.0)
    users.add("c", candidate=True, weight=0.5, bad=1.0)
    assert users.add("c", candidate=True, weight=0.5, bad=0.0) == [UserMean(True, 0.5, 2 / 3)]
