"""What the pages of rollouts say and draw."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from inhouse.core.errors import Invalid
from inhouse.dashboard import rollouts_view as view
from inhouse.dashboard import rollouts_words as say
from inhouse.dashboard.axes import log_scale, ticks_down
from inhouse.dashboard.rollouts_charts import charts_of
from inhouse.dashboard.rollouts_checks import check_rows
from inhouse.rollout.decide import Check
from inhouse.rollout.declared import adjusted, plan_of
from inhouse.rollout.guardrails import Evidence, ShadowReading
from inhouse.rollout.history import Arm, Moment
from inhouse.rollout.outlook import Outlook
from inhouse.rollout.plan import Plan, RolloutState
from inhouse.rollout.reconcile import ACTOR
from inhouse.rollout.records import DecisionRecord, RolloutRecord
from inhouse.rollout.tally import as_json
from inhouse.settings import RolloutSettings

START = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLAN = Plan()


def rollout(state: RolloutState = RolloutState.RAMPING, **changes: Any) -> RolloutRecord:
    fields: dict[str, Any] = {
        "id": "01a1fee8-91b0-7508-be98-d0e3459cba40",
        "task": "tone",
        "incumbent": "local/big",
        "candidate": "tone@2",
        "state": state,
        "step": 0,
        "plan": PLAN,
        "by_user": False,
        "salt": "s",
        "revision": 1,
        "route_revision": 1,
        "candidate_before": 0,
        "intakes": 1,
        "stopped_from": None,
        "superseded_by": None,
        "actor": "ada",
        "reason": "",
        "created_at": START,
        "step_at": START,
        "ended_at": None,
        "lease_owner": None,
        "lease_until": None,
    }
    return RolloutRecord(**fields | changes)


def decision(number: int, kind: str, weight_bp: int, **changes: Any) -> DecisionRecord:
    fields: dict[str, Any] = {
        "rollout_id": "r",
        "number": number,
        "kind": kind,
        "before": RolloutState.RAMPING,
        "state": RolloutState.RAMPING,
        "step": max(0, number - 1),
        "weight_bp": weight_bp,
        "reasons": (),
        "evidence": {},
        "route_revision": number,
        "actor": ACTOR,
        "created_at": START + timedelta(hours=number - 1),
    }
    return DecisionRecord(**fields | changes)


def moments(count: int) -> list[Moment]:
    evidence, found = Evidence(PLAN), []
    for number in range(count):
        for _ in range(10):
            arm = number % 3 == 0
            evidence.assigned(candidate=arm, weight=0.3)
            evidence.answered(candidate=arm, weight=0.3, bad=float(number == 5))
        at = START + timedelta(minutes=3 * number)
        reading = as_json(evidence.reading(PLAN.margin_after(0)))
        found.append(Moment(number=number + 2, at=at, reading=reading))
    return found


def test_a_decision_says_who_and_why() -> None:
    paused = decision(2, "pause", 1000, actor="ada", reasons=("labels are late",))
    assert say.told(paused, ACTOR) == ("Paused at 10 % by ada: “labels are late”", "")
    silent = decision(2, "resume", 1000, actor="ada")
    assert say.told(silent, ACTOR)[0] == "Resumed at 10 % by ada."
    figures = {"dwell": 330.0, "certificate": 20.4, "min_success": 0.02, "calm": 0.01}
    words, numbers = say.told(decision(2, "advance", 3000, evidence=figures), ACTOR)
    assert words == "To 30 %: every check was met."
    assert numbers.replace(say.BOUND, " ") == (
        "not worse 20.4 · fresh harm 0.010 · dwell 5 min 30 s · success 98.0 %"
    )
    harm = decision(3, "roll_back", 0, reasons=("the candidate is worse",), evidence={"harm": 21})
    assert say.told(harm, ACTOR)[0] == "Rolled back: the candidate is worse."


@pytest.mark.parametrize(
    ("state", "changes", "words"),
    [
        (RolloutState.RAMPING, {}, "10 % of calls go to the candidate; 30 % come next."),
        (RolloutState.PAUSED, {"stopped_from": RolloutState.RAMPING}, "A person paused it at 10 %"),
        (RolloutState.HELD, {"stopped_from": RolloutState.RAMPING}, "Evidence holds it at 10 %"),
        (RolloutState.SHADOWING, {}, "The candidate answers copies of calls"),
        (RolloutState.BAKING, {"step": 7}, "95 % of calls go to the candidate, 5 % stay"),
        (RolloutState.DONE, {"ended_at": START}, "tone@2 answers every call of tone."),
        (RolloutState.ROLLED_BACK, {"ended_at": START}, "local/big answers again. Because."),
        (RolloutState.ABORTED, {"ended_at": START}, "local/big answers again."),
    ],
)
def test_every_state_is_a_sentence(
    state: RolloutState, changes: dict[str, Any], words: str
) -> None:
    last = decision(1, "start", 1000, reasons=("because",))
    one = rollout(state, **changes)
    assert say.sentence(one, None, last).startswith(words)
    assert one.candidate in say.title(one) or one.is_over
    assert state.value in say.BADGES


def test_what_is_missing_is_named() -> None:
    checks = (
        Check("outcomes", False, 3, 100),
        Check("calm", True, 0.1, 0.5),
        Check("max_p95_s certified", False, 3, 1000),
    )
    told = say.sentence(rollout(), Outlook(checks, (), ShadowReading(0, 1, 1)), decision(1, "s", 0))
    assert told.endswith(
        "What is missing: outcomes of the candidate and a p95 within its limit for sure."
    )
    rows = check_rows(rollout(), checks)
    assert (rows[0].now, rows[0].needed, rows[0].share) == ("3", "at least 100", 0.03)
    assert (rows[1].now, rows[1].needed, rows[1].met) == ("0.10", "below 0.50", True)


def test_limits_are_shown_the_way_they_are_declared() -> None:
    (row,) = check_rows(rollout(), [Check("min_success", False, 0.08, 0.05)])
    shown = (row.name, row.now, row.needed, row.met)
    assert shown == ("Success at least 95 %", "92.0 %", "at least 95.0 %", False)
    (nothing,) = check_rows(rollout(), [Check("max_p95_s", False, 0.0, 0.05)])
    assert (nothing.now, nothing.met) == ("–", False), "no outcome is no limit kept"
    (unknown,) = check_rows(rollout(), [Check("certificate", False, float("nan"), 20.0)])
    assert (unknown.name, unknown.now) == ("Not worse by more than 0.167", "–")


def test_the_strip_of_steps_marks_where_it_stands() -> None:
    at_third = say.steps(rollout(step=2))
    assert [state for _, state in at_third][:4] == ["done", "done", "now", ""]
    assert [name for name, _ in at_third][-2:] == ["95 %, bake", "100 %"]
    shadow = rollout(RolloutState.SHADOWING, plan=replace(PLAN, shadow_inputs=50))
    assert say.steps(shadow)[0] == ("Shadow", "now")
    over = rollout(RolloutState.DONE, step=7, ended_at=START)
    assert say.steps(over)[-1] == ("100 %", "now")
    assert {state for _, state in say.steps(rollout(RolloutState.ABORTED, ended_at=START))} == {""}


def test_charts_share_one_time_and_tell_what_they_show() -> None:
    decisions = [decision(1, "start", 1000), decision(2, "advance", 3000)]
    now = START + timedelta(hours=2)
    drawn = charts_of(rollout(step=1), decisions, moments(30), now)
    assert [one.frame.title for one in drawn] == [
        "Weight of tone@2",
        "Certified loss",
        "Evidence of harm",
        "Evidence that it is not worse",
    ]
    assert len({one.across for one in drawn}) == 1
    weights = drawn[0]
    assert [(dot.x, dot.y) for dot in weights.dots] == [(0, 90), (50, 70)]
    assert weights.lines[0].path == "M0 900L500 900L500 700L1000 700"
    limit = next(line for line in drawn[1].lines if line.name == "limit")
    assert limit.value == "0.100"
    assert drawn[2].rules[0][1].value == 20.0
    assert "failed" in [line.name for line in drawn[2].lines]
    assert "wrong" not in [line.name for line in drawn[2].lines], "nothing was labelled"
    assert drawn[3].frame.finding.endswith("a step needs 20")
    assert len(charts_of(rollout(), decisions[:1], [], now)) == 1


def test_the_charts_of_a_shadow() -> None:
    found = [
        Moment(number=n, at=START + timedelta(minutes=n), reading=as_json(ShadowReading(n, 0.5, n)))
        for n in range(1, 9)
    ]
    one = rollout(RolloutState.SHADOWING, plan=replace(PLAN, shadow_inputs=50))
    drawn = charts_of(one, [decision(1, "start", 0)], found, START + timedelta(minutes=9))
    assert [chart.lines[0].name for chart in drawn] == ["", "harm", "not worse"]
    tiles = view.shadow_tiles(one, ShadowReading(8, 0.5, 8), START)
    assert [tile.figure for tile in tiles][:3] == ["8.00", "0.50", "8"]


def test_arms_stand_on_one_axis() -> None:
    arms = (
        Arm(arm="incumbent", reference="a", calls=900, bad=45, p50_ms=300, p95_ms=500, labels=0,
            correct=None),
        Arm(arm="candidate", reference="b", calls=100, bad=2, p50_ms=3, p95_ms=5, labels=4,
            correct=0.5),
    )  # fmt: skip
    rows, bounds = view.arm_rows(rollout(), arms, 1000, {"b": 0.5})
    assert [(row.arm.arm, row.share, row.cost) for row in rows] == [
        ("candidate", "10 %", 0.5),
        ("incumbent", "90 %", None),
    ]
    assert rows[0].success == "98.0 % (93.0 to 99.4)"
    assert bounds == (0.9, 1.0)
    assert rows[0].place is not None
    assert 0 <= rows[0].place[1] < rows[0].place[0] < rows[0].place[2] <= 100
    nothing = replace(arms[0], calls=0, bad=0)
    assert view.arm_rows(rollout(), (nothing, nothing), 0, {})[0][0].place is None


def test_the_form_holds_what_is_declared_and_sends_what_differs() -> None:
    declared = RolloutSettings(dwell_s=60, steps=(10, 50, 100))
    fields = {one.name: text for one, text in view.plan_fields(declared, {})}
    assert (fields["steps"], fields["dwell_s"]) == ("10, 50, 100", "60")
    sent = {f"plan.{name}": text for name, text in fields.items()}
    assert view.plan_changes(declared, sent) == {}
    sent |= {"plan.steps": "20, 100", "plan.margin": "0,1", "plan.first_calls": "7"}
    changes = view.plan_changes(declared, sent)
    assert changes == {"steps": (20.0, 100.0), "margin": 0.1, "first_calls": 7}
    plan = plan_of(adjusted(declared, changes))
    assert (plan.steps_bp, plan.margin, plan.dwell_s) == ((2000, 10_000), 0.1, 60)
    with pytest.raises(Invalid, match="no number"):
        view.plan_changes(declared, sent | {"plan.dwell_s": "soon"})
    with pytest.raises(Invalid, match="margin"):
        adjusted(declared, {"margin": 2})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0.0004, "under 0.001"),
        (0.41, "0.41"),
        (12.34, "12.3"),
        (1234.0, "1,234"),
        (3e7, "over 10⁷"),
    ],
)
def test_evidence_is_written_with_few_digits(value: float | None, words: str) -> None:
    assert say.evidence(value) == words


def test_a_log_axis_has_powers_of_ten() -> None:
    axis = log_scale(0.02, 40)
    assert [tick.label for tick in ticks_down(axis)] == ["0.01", "0.1", "1", "10", "100"]
    assert (axis.down(0.001), axis.down(1), axis.down(100)) == (100, 50, 0)
    assert [tick.label for tick in ticks_down(log_scale(1, 1e9))][-1] == "10¹⁰"
