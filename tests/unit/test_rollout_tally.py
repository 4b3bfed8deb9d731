"""What of a call counts: warm-up, users, shadows."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from inhouse.rollout.guardrails import GuardrailReading, Reading
from inhouse.rollout.plan import Metric, Plan
from inhouse.rollout.tally import WARM_UP, Seen, Tally, as_json

PLAN = Plan(guardrails=(Metric.SUCCESS, Metric.CORRECT), max_p95_s=1.0, min_score=0.5)
MARGIN = PLAN.margins[0]


def seen(number: int, **changes: object) -> Seen:
    one = Seen(
        process="g1",
        number=number,
        candidate=True,
        weight_bp=5000,
        bad=False,
        paired_bad=None,
        latency_s=0.1,
        unit="",
    )._replace(**changes)  # type: ignore[arg-type]
    return one if one.unit else one._replace(unit=f"{one.process} {one.candidate} {number}")


def limit(reading: Reading, name: str) -> int:
    return next(one.outcomes for one in reading.thresholds if one.name == name)


def test_first_answers_of_a_process_tell_no_latency() -> None:
    tally = Tally(PLAN, by_user=False)
    for number in range(WARM_UP):
        for candidate in (True, False):
            tally.outcome(seen(number, process="g1", candidate=candidate))
        tally.outcome(seen(number, process="g2"))
    assert limit(tally.reading(MARGIN), "max_p95_s") == 0
    assert limit(tally.reading(MARGIN), "min_success") == 2 * WARM_UP
    tally.outcome(seen(100, process="g1"))
    assert limit(tally.reading(MARGIN), "max_p95_s") == 1
    tally.begin()
    tally.outcome(seen(101, process="g1"))
    assert limit(tally.reading(MARGIN), "max_p95_s") == 1, "a process stays warm"
    assert limit(tally.reading(MARGIN), "min_success") == 1


def test_latencies_count_once_both_arms_are_warm() -> None:
    """An incumbent that is timed alone would bet against a candidate that nobody times."""
    tally = Tally(replace(PLAN, guardrails=(Metric.SUCCESS, Metric.P95)), by_user=False)

    def p95() -> GuardrailReading:
        parts = tally.reading(MARGIN).guardrails
        return next(part for part in parts if part.metric is Metric.P95)

    for number in range(300):
        tally.outcome(seen(number, candidate=False))
    for number in range(WARM_UP):
        tally.outcome(seen(number))
    assert (p95().outcomes, p95().harm) == (0, 1.0)
    tally.outcome(seen(400, latency_s=9.0))
    assert p95().outcomes == 1
    assert p95().harm > 1.0, "the incumbent's latencies were known by then"


def test_users_count_once() -> None:
    tally = Tally(PLAN, by_user=True)
    for number in range(200):
        tally.outcome(seen(number, unit=f"i{number % 10}", candidate=False))
        tally.outcome(seen(number, unit=f"u{number % 10}"))
        tally.label(unit=f"u{number % 10}", candidate=True, weight_bp=5000, error=0.0)
    reading = tally.reading(MARGIN)
    assert reading.candidate == 10
    assert limit(reading, "max_p95_s") == 10
    assert limit(reading, "min_score") == 10


def test_a_unit_that_is_named_again_counts_once() -> None:
    """Its calls meet one arm, also where the task calls no units users."""
    tally = Tally(PLAN, by_user=False)
    for number in range(WARM_UP):
        tally.outcome(seen(number))
        tally.outcome(seen(number, candidate=False))
    for number in range(50):
        tally.outcome(seen(number, unit="ada", bad=number > 0))
        tally.label(unit="ada", candidate=True, weight_bp=5000, error=1.0)
    reading = tally.reading(MARGIN)
    assert reading.candidate == WARM_UP + 1
    assert limit(reading, "min_score") == 1
    assert limit(reading, "max_p95_s") == 1
    good = Tally(PLAN, by_user=False)
    for number in range(WARM_UP):
        good.outcome(seen(number))
        good.outcome(seen(number, candidate=False))
    good.outcome(seen(0, unit="ada"))
    good.label(unit="ada", candidate=True, weight_bp=5000, error=1.0)
    assert good.reading(MARGIN).harm == reading.harm, "its first call was good"


def test_a_shadow_is_evidence_of_its_own() -> None:
    tally = Tally(replace(PLAN, shadow_inputs=10), by_user=False)
    tally.outcome(seen(1, paired_bad=False, bad=True))
    assert tally.shadow().inputs == 1
    assert tally.reading(MARGIN).outcomes == 0


def test_a_reading_is_json() -> None:
    tally = Tally(PLAN, by_user=False)
    tally.outcome(seen(1))
    for reading in (tally.reading(MARGIN), tally.shadow()):
        plain = as_json(reading)
        assert msgspec.json.decode(msgspec.json.encode(plain)) == plain
        assert list(plain) == list(reading._fields)
