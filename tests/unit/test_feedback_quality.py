"""Several statements about one interaction: what they add up to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.feedback.quality import Vote, settle
from inhouse.tasks.spec import TaskKind, TaskSpec

CHOICE = TaskSpec(
    name="mood", kind=TaskKind.CHOICE, description="", labels=("a", "b", "c"), prompt=""
)
SCORE = TaskSpec(name="tone", kind=TaskKind.SCORE, description="", low=-1.0, prompt="")
SPANS = TaskSpec(
    name="names", kind=TaskKind.SPANS, description="", labels=("PERSON", "ORG"), prompt=""
)
REPORT = TaskSpec(
    name="report",
    kind=TaskKind.JSON,
    description="",
    schema={
        "type": "object",
        "properties": {
            "topic": {"enum": ["trade", "sport"]},
            "tone": {"type": "number", "minimum": 0, "maximum": 1},
            "year": {"type": "integer"},
        },
        "required": ["topic"],
        "if": {"properties": {"topic": {"const": "sport"}}},
        "then": {"required": ["year"]},
    },
    prompt="",
)
TEXT = TaskSpec(name="gist", kind=TaskKind.TEXT, description="", prompt="{{ input }}")
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


def _outputs(*targets: dict[str, Any]) -> list[Vote]:
    return [
        Vote(feedback_id=f"f{at}", author=f"{at}", target=target, at=START + timedelta(seconds=at))
        for at, target in enumerate(targets)
    ]


def _spans(*found: str) -> dict[str, Any]:
    places = {"Ada": (0, "PERSON"), "Acme": (4, "ORG"), "Ac": (4, "ORG"), "Bob": (9, "PERSON")}
    return {
        "spans": [
            {"start": places[w][0], "end": places[w][0] + len(w), "label": places[w][1], "text": w}
            for w in found
        ]
    }


@pytest.mark.parametrize(
    ("said", "held", "quality"),
    [
        ([["Ada", "Acme"]], ["Ada", "Acme"], 1.0),
        ([["Ada", "Acme"], ["Ada"], ["Ada", "Bob"]], ["Ada"], (2 / 3 + 1 + 2 / 3) / 3),
        ([["Ada", "Acme"], ["Ada", "Ac"]], ["Ada", "Ac"], (1 / 2 + 1) / 2),
        ([["Ada"], []], [], 0.5),
        ([[], []], [], 1.0),
    ],
)
def test_a_span_holds_by_majority_and_a_tie_by_the_newest(
    said: list[list[str]], held: list[str], quality: float
) -> None:
    settled = settle(SPANS, _outputs(*(_spans(*words) for words in said)))
    assert settled.target == _spans(*held)
    assert settled.quality == pytest.approx(quality, abs=1e-6)


def test_an_object_is_settled_field_by_field() -> None:
    settled = settle(
        REPORT,
        _outputs(
            {"topic": "trade", "tone": 0.1, "year": 2019},
            {"topic": "trade", "tone": 0.5},
            {"topic": "sport", "tone": 0.6, "year": 2020},
        ),
    )
    assert settled.target == {"topic": "trade", "tone": 0.5, "year": 2020}
    parts = [(1 + 0.6 + 0) / 3, (1 + 1 + 0) / 3, (0 + 0.9 + 1) / 3]
    assert settled.quality == pytest.approx(sum(parts) / 3, abs=1e-6)


def test_fields_that_do_not_fit_together_leave_the_newest() -> None:
    votes = [
        {"topic": "trade"},
        {"topic": "sport", "year": 2019},
        {"topic": "trade", "tone": 0.5},
        {"topic": "sport", "year": 2019},
        {"topic": "sport", "year": 2020, "tone": 0.25},
    ]
    assert settle(REPORT, _outputs(*votes)).target == {"topic": "sport", "year": 2019}
    unfit = [{"topic": "sport", "year": 1}, {"topic": "sport", "year": 2}]
    left_out = [{"topic": "trade"}] * 2 + [{"topic": "trade", "tone": 0.5}]
    settled = settle(REPORT, _outputs(*unfit, *left_out, unfit[0]))
    assert settled.target == unfit[0]


def test_the_newest_text_holds() -> None:
    settled = settle(TEXT, _outputs({"text": "a b c d"}, {"text": "a b x y"}))
    assert settled.target == {"text": "a b x y"}
    assert settled.quality == 0.75
