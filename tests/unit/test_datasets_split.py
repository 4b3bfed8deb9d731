"""Splits: no group in two of them, stable, and what the settings promise."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inhouse.core.errors import Invalid
from inhouse.datasets.example import Example, named_group
from inhouse.datasets.split import SplitSettings, assign, place

START = datetime(2026, 1, 1, tzinfo=UTC)


def _example(number: int, group: str, day: int | None = None) -> Example:
    return Example(
        input=f"text {number}",
        target={"label": "a"},
        group=named_group(group),
        origin={"kind": "import", "source": "f", "row": number},
        occurred_at=None if day is None else START + timedelta(days=day),
    )


@st.composite
def _many(draw: st.DrawFn) -> list[Example]:
    rows = draw(st.lists(st.tuples(st.integers(0, 12), st.none() | st.integers(0, 9)), max_size=60))
    return [_example(number, f"g{group}", day) for number, (group, day) in enumerate(rows)]


_settings = st.builds(
    SplitSettings,
    valid=st.floats(0, 0.4),
    test=st.floats(0, 0.5),
    max_test=st.none() | st.integers(0, 20),
    newest=st.booleans(),
) | st.builds(
    SplitSettings, test_after=st.integers(0, 9).map(lambda day: START + timedelta(days=day))
)


def _splits(examples: list[Example]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for example in examples:
        found.setdefault(example.group, set()).add(example.split)
    return found


@given(_many(), _settings)
def test_no_group_is_in_two_splits(examples: list[Example], settings: SplitSettings) -> None:
    split = assign(examples, salt="mood", settings=settings)
    assert [replace(example, split="") for example in split] == examples
    assert all(len(names) == 1 for names in _splits(split).values())
    assert {example.split for example in split} <= {"train", "valid", "test"}


@given(_many(), _settings, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(
    examples: list[Example], settings: SplitSettings, rng: Any
) -> None:
    shuffled = list(examples)
    rng.shuffle(shuffled)
    assert _splits(assign(shuffled, salt="mood", settings=settings)) == _splits(
        assign(examples, salt="mood", settings=settings)
    )


@given(_many(), _many())
def test_more_rows_move_no_old_group(old: list[Example], new: list[Example]) -> None:
    settings = SplitSettings()
    before = _splits(assign(old, salt="mood", settings=settings))
    after = _splits(assign(old + new, salt="mood", settings=settings))
    assert before == {group: after[group] for group in before}


@given(_many(), _settings)
def test_max_test_is_kept(examples: list[Example], settings: SplitSettings) -> None:
    sizes = Counter(example.split for example in assign(examples, salt="m", settings=settings))
    if settings.max_test is not None:
        assert sizes["test"] <= settings.max_test
    if settings.newest:
        assert sizes["test"] <= settings.test * len(examples)


@given(_many(), st.integers(0, 9))
def test_nothing_newer_than_the_cut_is_trained_on(examples: list[Example], day: int) -> None:
    cut = START + timedelta(days=day)
    split = assign(examples, salt="mood", settings=SplitSettings(test_after=cut))
    kept = [example for example in split if example.split != "test"]
    assert all(example.occurred_at is None or example.occurred_at <= cut for example in kept)


def test_shares_come_out_as_asked() -> None:
    examples = [_example(number, f"{number}") for number in range(5000)]
    sizes = Counter(e.split for e in assign(examples, salt="mood", settings=SplitSettings()))
    assert sizes["test"] / 5000 == pytest.approx(0.2, abs=0.02)
    assert sizes["valid"] / 5000 == pytest.approx(0.1, abs=0.02)


def test_surplus_test_groups_train() -> None:
    examples = [_example(number, f"{number}") for number in range(1000)]
    free = {e.group: e.split for e in assign(examples, salt="mood", settings=SplitSettings())}
    capped = {
        e.group: e.split for e in assign(examples, salt="mood", settings=SplitSettings(max_test=50))
    }
    moved = {group for group in free if free[group] != capped[group]}
    assert Counter(capped.values())["test"] == 50
    assert {(free[group], capped[group]) for group in moved} == {("test", "train")}
    kept = [place("mood", group) for group in capped if capped[group] == "test"]
    assert max(kept) < min(place("mood", group) for group in moved)


def test_the_newest_groups_are_tested() -> None:
    examples = [_example(day, f"g{day}", day) for day in range(100)]
    split = assign(examples, salt="mood", settings=SplitSettings(newest=True))
    assert {e.group for e in split if e.split == "test"} == {f"group:g{d}" for d in range(80, 100)}
    assert 2 <= sum(e.split == "valid" for e in split) <= 20


def test_another_salt_splits_otherwise() -> None:
    examples = [_example(number, f"{number}") for number in range(100)]
    one = assign(examples, salt="mood", settings=SplitSettings())
    assert one != assign(examples, salt="tone", settings=SplitSettings())


def test_the_hash_is_the_same_everywhere() -> None:
    assert place("mood", "group:1") == pytest.approx(0.7948324236, abs=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        {"valid": 0.5, "test": 0.5},
        {"test": -0.1},
        {"max_test": -1},
        {"test_after": START, "newest": True},
        {"test_after": START, "max_test": 5},
        {"test": float("nan")},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(Invalid) as refused:
        SplitSettings(**settings)
    assert refused.value.code == "split"
