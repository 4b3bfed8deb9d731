"""Intervals, paired tests and the gate, against known values and simulated truth."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from inhouse.evaluation.compare import mcnemar_exact, mean_interval, paired_difference, quantile
from inhouse.evaluation.gate import GateSettings, VerdictKind, compare, decide
from inhouse.evaluation.measure import Answer, Result, measure
from inhouse.tasks.spec import TaskKind, TaskSpec

SPEC = TaskSpec(
    name="sentiment",
    kind=TaskKind.CHOICE,
    description="",
    labels=("negative", "neutral", "positive"),
    prompt="{{ input }}",
)
GATE = GateSettings()


def _targets(n: int, rng: random.Random) -> list[dict[str, str]]:
    return [{"label": rng.choice(SPEC.labels)} for _ in range(n)]


def _result(
    reference: str,
    role: str,
    targets: Sequence[dict[str, str]],
    accuracy: float,
    rng: random.Random,
    *,
    confidence: float | None = None,
) -> Result:
    answers = []
    for target in targets:
        wrong = [label for label in SPEC.labels if label != target["label"]]
        label = target["label"] if rng.random() < accuracy else rng.choice(wrong)
        sure = confidence or accuracy
        shares = dict.fromkeys(SPEC.labels, (1 - sure) / 2) | {label: sure}
        answers.append(Answer(output={"label": label}, probabilities=shares, latency_ms=2.0))
    return measure(
        SPEC, reference=reference, role=role, about="", answers=answers, targets=targets, rng=rng
    )


def test_exact_mcnemar_has_its_textbook_values() -> None:
    wins, losses = [True] * 10 + [False] * 2, [False] * 10 + [True] * 2
    assert mcnemar_exact(wins, losses) == pytest.approx(2 * (1 + 12 + 66) / 2**12)
    assert mcnemar_exact([True, False], [True, False]) == 1.0
    assert mcnemar_exact([], []) == 1.0


def test_quantiles_interpolate() -> None:
    assert quantile([1.0, 2.0, 3.0, 4.0], 0.5) == 2.5
    assert quantile([1.0], 0.975) == 1.0
    assert quantile([0.0, 10.0], 0.25) == 2.5


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = random.Random(5)
    covered = 0
    for _ in range(100):
        scores = [float(rng.random() < 0.7) for _ in range(80)]
        interval = mean_interval(scores, random.Random(1))
        covered += interval.low <= 0.7 <= interval.high
    assert 0.88 <= covered / 100 <= 1.0


def test_a_paired_difference_is_tighter_than_two_intervals() -> None:
    rng = random.Random(2)
    base = [float(rng.random() < 0.6) for _ in range(300)]
    better = [max(b, float(rng.random() < 0.25)) for b in base]
    gap = paired_difference(better, base, random.Random(1))
    apart = mean_interval(better, random.Random(1))
    assert gap.low > 0
    assert gap.high - gap.low < apart.high - apart.low


def test_a_good_candidate_passes_with_reasons() -> None:
    rng = random.Random(3)
    targets = _targets(400, rng)
    candidate = _result("sentiment@1", "candidate", targets, 0.85, rng)
    others = [
        _result("embedded/general", "general", targets, 0.45, rng),
        _result("majority", "floor", targets, 0.34, rng),
    ]
    verdict = decide(candidate, [compare(candidate, o, random.Random(1)) for o in others], GATE)
    assert verdict.kind is VerdictKind.PASS, verdict.reasons
    assert any("better than the general model" in reason for reason in verdict.reasons)


def test_chance_fails_and_a_better_general_model_is_kept() -> None:
    rng = random.Random(4)
    targets = _targets(400, rng)
    floor = _result("tf-idf", "floor", targets, 0.60, rng)
    chance = _result("sentiment@1", "candidate", targets, 0.33, rng)
    verdict = decide(chance, [compare(chance, floor, random.Random(1))], GATE)
    assert verdict.kind is VerdictKind.FAIL
    assert "not above the floor tf-idf" in verdict.reasons[0]
    own = _result("sentiment@2", "candidate", targets, 0.75, rng)
    general = _result("hosted/big", "general", targets, 0.95, rng)
    verdict = decide(own, [compare(own, general, random.Random(1))], GATE)
    assert verdict.kind is VerdictKind.FAIL
    assert "keep the general model hosted/big" in verdict.reasons[0]


def test_too_little_evidence_is_inconclusive() -> None:
    rng = random.Random(6)
    few = _targets(20, rng)
    candidate = _result("sentiment@1", "candidate", few, 1.0, rng)
    verdict = decide(candidate, [], GATE)
    assert verdict.kind is VerdictKind.INCONCLUSIVE
    assert "20 examples" in verdict.reasons[0]
    some = _targets(60, rng)
    own = _result("sentiment@1", "candidate", some, 0.70, rng)
    general = _result("embedded/general", "general", some, 0.70, rng)
    verdict = decide(own, [compare(own, general, random.Random(1))], GATE)
    assert verdict.kind is VerdictKind.INCONCLUSIVE


def test_an_overconfident_candidate_is_not_passed() -> None:
    rng = random.Random(7)
    targets = _targets(500, rng)
    bold = _result("sentiment@1", "candidate", targets, 0.70, rng, confidence=0.99)
    general = _result("embedded/general", "general", targets, 0.50, rng)
    verdict = decide(bold, [compare(bold, general, random.Random(1))], GATE)
    assert verdict.kind is VerdictKind.FAIL
    assert any("calibration" in reason for reason in verdict.reasons)


def test_failures_count_as_nothing_and_hide_no_calibration() -> None:
    rng = random.Random(8)
    targets = _targets(40, rng)
    answers = [Answer(output=None, error_code="timeout")] * 40
    result = measure(
        SPEC, reference="x", role="general", about="", answers=answers, targets=targets, rng=rng
    )
    assert result.failures == 40
    assert result.figures["score"].estimate == 0.0
    assert "ece" not in result.figures
