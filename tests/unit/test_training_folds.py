"""Folds: no group on two sides, strata spread, the same whatever the order."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from inhouse.training.trainers.folds import grouped_folds, quantile_strata, usable_count

ROWS = st.lists(
    st.tuples(st.sampled_from([f"g{n}" for n in range(12)]), st.integers(0, 3)),
    min_size=1,
    max_size=80,
)


@given(rows=ROWS, count=st.integers(2, 6), seed=st.integers(0, 1000))
def test_groups_stay_together_in_any_order(
    rows: list[tuple[str, int]], count: int, seed: int
) -> None:
    groups, strata = [g for g, _ in rows], [s for _, s in rows]
    folds = grouped_folds(groups, strata, count, seed)
    where = dict(zip(groups, folds, strict=True))
    assert all(where[group] == fold for group, fold in zip(groups, folds, strict=True))
    assert set(folds) <= set(range(count))
    assert grouped_folds(groups[::-1], strata[::-1], count, seed) == folds[::-1]


@given(sizes=st.lists(st.integers(5, 40), min_size=2, max_size=4), seed=st.integers(0, 1000))
def test_strata_of_single_rows_are_spread_evenly(sizes: list[int], seed: int) -> None:
    strata = [stratum for stratum, size in enumerate(sizes) for _ in range(size)]
    groups = [f"row{n}" for n in range(len(strata))]
    folds = grouped_folds(groups, strata, 5, seed)
    for stratum, size in enumerate(sizes):
        held = Counter(f for f, s in zip(folds, strata, strict=True) if s == stratum)
        assert max(held.values()) - min(held[f] for f in range(5)) <= 1, (stratum, size, held)


@given(rows=ROWS, seed=st.integers(0, 99))
def test_the_usable_count_leaves_every_stratum_in_two_folds_when_it_can(
    rows: list[tuple[str, int]], seed: int
) -> None:
    groups = [f"{g}-{n}" for n, (g, _) in enumerate(rows)]
    strata = [s for _, s in rows]
    count = usable_count(groups, strata, 5)
    assert 2 <= count <= 5
    folds = grouped_folds(groups, strata, count, seed)
    for stratum, size in Counter(strata).items():
        held = {f for f, s in zip(folds, strata, strict=True) if s == stratum}
        assert len(held) >= min(2, size)


def test_another_seed_deals_otherwise() -> None:
    groups = [f"row{n}" for n in range(50)]
    assert grouped_folds(groups, [0] * 50, 5, 0) != grouped_folds(groups, [0] * 50, 5, 1)


def test_quantile_strata_have_equal_sizes_and_keep_ties_together() -> None:
    values = [n / 100 for n in range(100)]
    assert Counter(quantile_strata(values, 5)) == dict.fromkeys(range(5), 20)
    tied = quantile_strata([0.0] * 9 + [1.0], 5)
    assert len(set(tied[:9])) == 1
    assert tied[9] != tied[0]
