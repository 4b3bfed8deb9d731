"""The same text, and what is left of several examples with it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.datasets.dedupe import dedupe, normalise
from inhouse.datasets.example import Example

START = datetime(2026, 1, 1, tzinfo=UTC)


def _example(
    text: str = "One text.",
    label: str = "a",
    *,
    day: int | None = 0,
    weight: float = 1.0,
    group: str = "g",
    person: bool = True,
) -> Example:
    origin: Mapping[str, Any] = {"kind": "import", "source": "f", "row": 2}
    if person:
        origin = {"kind": "correction", "interaction_id": "i", "feedback_ids": ["f"]}
    return Example(
        input=text,
        target={"label": label},
        weight=weight,
        group=group,
        origin=origin,
        occurred_at=None if day is None else START + timedelta(days=day),
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Profits  rise!", "profits rise"),
        ("\u201cProfits\u201d \u2014 rise\u2026", "profits, rise"),
        ("STRASSE", "stra\u00dfe"),
        ("\uff21\uff22", "ab"),
        ("caf\u00e9", "cafe\u0301"),
        ("a_b", "a b"),
        ("1,000", "1.000"),
        ("up -0.5 today", "UP (\u22120.5) today"),
    ],
)
def test_texts_that_are_the_same(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("profit of -5 million", "profit of 5 million"),
        ("up 3.5 points", "up 35 points"),
        ("up 3.5 points", "up 3 5 points"),
        ("+5", "-5"),
        ("\U0001f600", "\U0001f622"),
        ("!!!", "???"),
        ("\u0915\u093f", "\u0915\u0940"),
    ],
)
def test_texts_that_differ(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@given(st.text())
def test_normalising_twice_changes_nothing(text: str) -> None:
    once = normalise(text)
    assert normalise(once) == once
    assert once == once.strip()
    assert bool(once) == bool(text.strip())


def test_the_majority_by_weight_wins() -> None:
    found = dedupe(
        [
            _example(label="a", weight=2.0, day=3),
            _example("one text", label="b", day=1),
            _example("ONE TEXT", label="b", day=2, weight=1.5),
        ]
    )
    (kept,) = found.examples
    assert kept.target == {"label": "b"}
    assert kept.input == "one text"
    assert kept.quality == pytest.approx(2.5 / 4.5, abs=1e-6)
    assert found.dropped == {"duplicate": 1, "conflicting": 1}


def test_a_tie_goes_to_the_newest_person() -> None:
    said = [
        _example(label="a", day=1),
        _example(label="b", day=2),
        _example(label="c", day=3, person=False),
    ]
    (kept,) = dedupe(said).examples
    assert kept.target == {"label": "b"}
    assert kept.quality == pytest.approx(1 / 3, abs=1e-6)


def test_a_newer_copy_moves_no_group() -> None:
    old, new = _example(day=1, group="old"), _example(day=2, group="new", label="b", weight=5.0)
    (kept,) = dedupe([new, old]).examples
    assert kept.target == {"label": "b"}
    assert kept.group == "old"


def test_a_copy_without_a_time_moves_no_group() -> None:
    dated = _example(day=1, group="dated", label="b")
    undated = _example(day=None, group="undated", person=False)
    (kept,) = dedupe([undated, dated]).examples
    assert (kept.group, kept.target) == ("dated", {"label": "b"})


_examples = st.lists(
    st.builds(
        _example,
        st.sampled_from(["x", "X!", "y", "z"]),
        st.sampled_from("ab"),
        day=st.none() | st.integers(0, 3),
        weight=st.sampled_from([0.1, 0.2, 0.3, 1.0]),
        group=st.sampled_from("gh"),
        person=st.booleans(),
    )
)


@given(_examples, st.randoms(use_true_random=False))
def test_order_does_not_matter_and_nothing_is_lost(examples: list[Example], rng: Any) -> None:
    shuffled = list(examples)
    rng.shuffle(shuffled)
    found = dedupe(shuffled)
    assert found == dedupe(examples)
    texts = [normalise(example.input) for example in found.examples]
    assert sorted(texts) == sorted({normalise(example.input) for example in examples})
    assert len(found.examples) + sum(found.dropped.values()) == len(examples)
