"""The bias of a general model: taken off, stored once, shared."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inhouse.core.errors import BackendError, Invalid
from inhouse.inference.engines.calibration import (
    CONTENT_FREE,
    Calibration,
    Calibrations,
    prior_of,
    softmax,
)
from inhouse.tasks.spec import TaskKind, TaskSpec

SPEC = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("bad", "good"), prompt="{{ input }}"
)
SCORES = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.floats(-80, 5), min_size=2, max_size=4
)


class Scripted:
    """Log likelihoods that favour "good" by 3 whatever the text; counts what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, spec: TaskSpec, texts: Sequence[str]) -> list[Mapping[str, float]]:
        self.asked.append(tuple(texts))
        return [{"bad": -5.0, "good": -2.0} for _ in texts]


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


def open_in(folder: Path, measure: Scripted, weights: str = "w") -> Calibrations:
    return Calibrations(folder, base="tiny", weights=lambda: weights, measure=measure)


@pytest.fixture
def calibrations(tmp_path: Path, scripted: Scripted) -> Iterator[Calibrations]:
    opened = open_in(tmp_path, scripted)
    yield opened
    opened.close()


@settings(deadline=None)
@given(SCORES)
def test_shares_sum_to_one_and_keep_the_order(scores: dict[str, float]) -> None:
    shares = softmax(scores)
    assert sum(shares.values()) == pytest.approx(1.0)
    for first in scores:
        for second in scores:
            if scores[first] > scores[second]:
                assert shares[first] >= shares[second]


@settings(deadline=None)
@given(SCORES)
def test_a_text_that_says_nothing_gets_even_shares(scores: dict[str, float]) -> None:
    made = Calibration(
        base="b", task="t", revision="r", weights="w", method="m", texts=1, prior=prior_of([scores])
    )
    shares = made.probabilities(scores)
    assert all(share == pytest.approx(1 / len(scores)) for share in shares.values())


def test_the_prior_is_the_mean_log_probability() -> None:
    prior = prior_of([{"a": 0.0, "b": 0.0}, {"a": math.log(3), "b": 0.0}])
    assert prior["a"] == pytest.approx((math.log(0.5) + math.log(0.75)) / 2)
    assert prior["b"] == pytest.approx((math.log(0.5) + math.log(0.25)) / 2)


def test_measured_once_and_stored_for_all(
    tmp_path: Path, calibrations: Calibrations, scripted: Scripted
) -> None:
    made = calibrations.obtain(SPEC).result()
    assert made.method == "content-free"
    assert scripted.asked == [CONTENT_FREE]
    assert calibrations.known(SPEC) == made
    assert [path.name for path in tmp_path.iterdir()] == [f"tiny-{SPEC.revision}.json"]
    other = open_in(tmp_path, scripted)
    assert other.obtain(SPEC).result() == made
    other.close()
    assert len(scripted.asked) == 1


def test_a_calibration_by_another_process_is_seen(
    tmp_path: Path, calibrations: Calibrations, scripted: Scripted
) -> None:
    calibrations.obtain(SPEC).result()
    other = open_in(tmp_path, scripted)
    batch = other.measure_on(SPEC, [f"text {number}" for number in range(8)])
    other.close()
    assert batch.method == "batch"
    assert calibrations.known(SPEC) is None
    assert calibrations.obtain(SPEC).result() == batch


def test_a_content_free_one_never_replaces_a_batch(tmp_path: Path, scripted: Scripted) -> None:
    """Another process stores a batch calibration while this one measures."""
    other = open_in(tmp_path, scripted)

    def overtaken(spec: TaskSpec, texts: Sequence[str]) -> list[Mapping[str, float]]:
        other.measure_on(spec, ["x"] * 8)
        return scripted(spec, texts)

    slow = Calibrations(tmp_path, base="tiny", weights=lambda: "w", measure=overtaken)
    assert slow.obtain(SPEC).result().method == "batch"
    slow.close()
    other.close()


@pytest.mark.parametrize("damage", ["weights", "words", "json"])
def test_what_does_not_fit_is_measured_again(
    tmp_path: Path, scripted: Scripted, damage: str
) -> None:
    first = open_in(tmp_path, scripted)
    first.obtain(SPEC).result()
    first.close()
    path = tmp_path / f"tiny-{SPEC.revision}.json"
    if damage == "json":
        path.write_bytes(b"{")
    if damage == "words":
        path.write_text(path.read_text().replace('"good"', '"fine"'))
    again = open_in(tmp_path, scripted, weights="other" if damage == "weights" else "w")
    assert set(again.obtain(SPEC).result().prior) == set(SPEC.words)
    again.close()
    assert len(scripted.asked) == 2


def test_concurrent_callers_share_one_measurement(tmp_path: Path) -> None:
    begun, go = threading.Event(), threading.Event()
    asked = []

    def slow(spec: TaskSpec, texts: Sequence[str]) -> list[Mapping[str, float]]:
        asked.append(texts)
        begun.set()
        assert go.wait(30)
        return [{"bad": 0.0, "good": 0.0} for _ in texts]

    opened = Calibrations(tmp_path, base="tiny", weights=lambda: "w", measure=slow)
    first = opened.obtain(SPEC)
    assert begun.wait(30)
    second = opened.obtain(SPEC)
    go.set()
    assert first.result(10) == second.result(10)
    assert len(asked) == 1
    opened.close()


def test_a_failed_measurement_is_tried_again(tmp_path: Path, scripted: Scripted) -> None:
    failures = [BackendError("crashed", retryable=True)]

    def flaky(spec: TaskSpec, texts: Sequence[str]) -> list[Mapping[str, float]]:
        if failures:
            raise failures.pop()
        return scripted(spec, texts)

    opened = Calibrations(tmp_path, base="tiny", weights=lambda: "w", measure=flaky)
    with pytest.raises(BackendError):
        opened.obtain(SPEC).result()
    assert list(tmp_path.iterdir()) == []
    assert opened.obtain(SPEC).result().method == "content-free"
    opened.close()


def test_too_few_texts_are_refused(tmp_path: Path, calibrations: Calibrations) -> None:
    with pytest.raises(Invalid, match="too few") as caught:
        calibrations.measure_on(SPEC, ["one"] * 7)
    assert caught.value.code == "calibration-texts"
    assert list(tmp_path.iterdir()) == []
