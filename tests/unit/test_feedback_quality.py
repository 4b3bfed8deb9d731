"""Several statements about one interaction: what they add up to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.feedback.quality import Vote, settle
from inhouse.tasks.spec import TaskKind, TaskSpec

CHOICE = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("a", "b", "c"), prompt=""
)
SCORE = TaskSpec(name="tone", kind=TaskKind.SCORE, description="", low=-1.0, prompt="")
START = datetime(2026, 1, 1, tzinfo=UTC)


def _labels(*said: tuple[str | None, str]) -> list[Vote]:
    return [
        Vote(
            feedback_id=f"f{at}",
            author=author,
            target={"label": label},
            at=START + timedelta(seconds=at),
        )
        for at, (author, label) in enumerate(said)
    ]


def _values(*values: float) -> list[Vote]:
    return [
        Vote(feedback_id=f"f{at}", author=f"{at}", target={"value": value}, at=START)
        for at, value in enumerate(values)
    ]


@pytest.mark.parametrize(
    ("said", "label", "quality", "ids"),
    [
        ([("x", "a")], "a", 1.0, ("f0",)),
        ([("x", "a"), ("x", "b")], "b", 1.0, ("f1",)),
        ([(None, "a"), (None, "b")], "b", 1.0, ("f1",)),
        ([("x", "a"), ("y", "a"), ("z", "b")], "a", 0.666667, ("f0", "f1", "f2")),
        ([("x", "a"), ("y", "b")], "b", 0.5, ("f0", "f1")),
        ([("x", "a"), ("y", "b"), ("x", "c")], "c", 0.5, ("f1", "f2")),
    ],
)
def test_majority_over_authors(
    said: list[tuple[str | None, str]], label: str, quality: float, ids: tuple[str, ...]
) -> None:
    settled = settle(CHOICE, _labels(*said))
    assert settled.target == {"label": label}
    assert settled.quality == quality
    assert settled.feedback_ids == ids


def test_scores_meet_at_the_median() -> None:
    settled = settle(SCORE, _values(0.5, -1.0, 1.0))
    assert settled.target == {"value": 0.5}
    assert settled.quality == pytest.approx(1 - (1.5 + 0.5) / 3 / 2)


def test_nothing_cannot_be_settled() -> None:
    with pytest.raises(ValueError, match="nothing"):
        settle(CHOICE, [])


@given(
    st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from("abc")), min_size=1),
    st.randoms(use_true_random=False),
)
def test_the_order_of_arrival_does_not_matter(said: list[tuple[str, str]], rng: object) -> None:
    votes = _labels(*said)
    shuffled = list(votes)
    rng.shuffle(shuffled)  # type: ignore[attr-defined]
    settled = settle(CHOICE, shuffled)
    assert settled == settle(CHOICE, votes)
    assert 0.333 <= settled.quality <= 1.0


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=9))
def test_quality_of_scores_stays_in_range(values: list[float]) -> None:
    settled = settle(SCORE, _values(*values))
    assert 0.0 <= settled.quality <= 1.0
    assert min(values) <= settled.target["value"] <= max(values)
