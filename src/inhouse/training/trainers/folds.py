"""Folds for cross-validation: no group on two sides, every stratum spread as evenly as can be."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence


def grouped_folds(groups: Sequence[str], strata: Sequence[int], count: int, seed: int) -> list[int]:
    """The fold (0 to ``count`` - 1) of every row.

    Rows of one group share a fold. Groups are dealt out largest first, equal ones in an order that
    the seed draws, each to the fold that has least of the group's strata so far, then to the
    smallest. The result does not depend on the order of the rows.
    """
    members: dict[str, Counter[int]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        members[group][stratum] += 1
    sizes = [0] * count
    held: list[Counter[int]] = [Counter() for _ in range(count)]
    fold_of: dict[str, int] = {}
    for group in sorted(members, key=lambda name: (-members[name].total(), _draw(seed, name))):
        strata_of = members[group]
        fold = min(range(count), key=lambda f: (_overlap(held[f], strata_of), sizes[f], f))
        fold_of[group] = fold
        held[fold].update(strata_of)
        sizes[fold] += strata_of.total()
    return [fold_of[group] for group in groups]


def usable_count(groups: Sequence[str], strata: Sequence[int], wanted: int) -> int:
    """The number of folds that leaves every stratum something to learn from: at most ``wanted``, at
    most the number of groups of the stratum that has fewest, at least 2."""
    found: dict[int, set[str]] = defaultdict(set)
    for group, stratum in zip(groups, strata, strict=True):
        found[stratum].add(group)
    return max(2, min(wanted, min(len(names) for names in found.values())))


def quantile_strata(values: Sequence[float], count: int) -> list[int]:
    """Rows of a score in ``count`` strata of equal size, by rank; equal values share one."""
    ranks: dict[float, int] = {}
    for rank, value in enumerate(sorted(values)):
        ranks.setdefault(value, rank)
    return [ranks[value] * count // len(values) for value in values]


def _overlap(held: Counter[int], strata: Counter[int]) -> int:
    return sum(held[stratum] * size for stratum, size in strata.items())


def _draw(seed: int, group: str) -> bytes:
    return hashlib.blake2b(group.encode(), key=seed.to_bytes(8, "big"), digest_size=8).digest()
