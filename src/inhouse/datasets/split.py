"""Which example may be used for what. Pure: no chance, no clock; same groups, same splits.

A group never straddles splits. By default a group's place is a hash of its key, salted with the
name of the task: it depends on nothing else, so that examples that come later move none that are
there. With a test split by time, nothing newer than the test split's beginning is trained on.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from inhouse.core.errors import Invalid
from inhouse.datasets.example import Example, Split

_NEVER = datetime.min.replace(tzinfo=UTC)
_Groups = Mapping[str, Sequence[Example]]


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSettings:
    """``valid`` and ``test``: shares of the groups; train gets the rest.

    ``max_test``: most examples in test; groups beyond it train. ``newest``: the newest groups, up
    to the share ``test`` of the examples, are the test split. ``test_after``: groups with anything
    newer are the test split, however many. Examples without a time count as the oldest. Raises
    Invalid (``split``) for shares that leave nothing to train on, and for two rules at once.
    """

    valid: float = 0.1
    test: float = 0.2
    max_test: int | None = None
    newest: bool = False
    test_after: datetime | None = None

    def __post_init__(self) -> None:
        if min(self.valid, self.test) < 0 or not self.valid + self.test < 1:
            raise Invalid(
                f"shares of {self.valid:g} valid and {self.test:g} test leave nothing to train on",
                code="split",
                hint="both lie between 0 and 1, and their sum below 1",
            )
        if self.max_test is not None and self.max_test < 0:
            raise Invalid("max_test is a number of examples", code="split")
        if self.test_after is not None and (self.newest or self.max_test is not None):
            raise Invalid(
                "test_after alone says what the test split is",
                code="split",
                hint="leave out newest and max_test",
            )


def assign(examples: Sequence[Example], *, salt: str, settings: SplitSettings) -> list[Example]:
    """The examples in their order, each with its split."""
    groups: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        groups[example.group].append(example)
    places = {key: place(salt, key) for key in groups}
    if settings.test_after is not None:
        test = {key for key in groups if _newest(groups[key]) > settings.test_after}
    elif settings.newest:
        test = _newest_groups(groups, places, settings)
    else:
        test = _hashed_groups(groups, places, settings)
    by_time = settings.newest or settings.test_after is not None
    valid = _valid_groups(places, test, settings, rescale=by_time)
    return [replace(e, split=_split(e.group, test, valid).value) for e in examples]


def place(salt: str, group: str) -> float:
    """Where a group stands in [0, 1): a hash of the salt and the key, and of nothing else."""
    digest = hashlib.blake2b(f"{salt}\0{group}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def _split(group: str, test: set[str], valid: set[str]) -> Split:
    if group in test:
        return Split.TEST
    return Split.VALID if group in valid else Split.TRAIN


def _hashed_groups(
    groups: _Groups, places: Mapping[str, float], settings: SplitSettings
) -> set[str]:
    """Groups whose place lies below the share, in the order of their places while there is room."""
    inside = sorted((at, key) for key, at in places.items() if at < settings.test)
    return _filled(groups, [key for _, key in inside], settings.max_test)


def _newest_groups(
    groups: _Groups, places: Mapping[str, float], settings: SplitSettings
) -> set[str]:
    """The newest groups, until the next one would exceed the share; of one instant, by place."""
    total = sum(len(members) for members in groups.values())
    room = math.floor(settings.test * total)
    if settings.max_test is not None:
        room = min(room, settings.max_test)
    newest_first = sorted(groups, key=lambda key: (_newest(groups[key]), places[key]), reverse=True)
    test: set[str] = set()
    for key in newest_first:
        room -= len(groups[key])
        if room < 0:
            break
        test.add(key)
    return test


def _filled(groups: _Groups, order: Sequence[str], room: int | None) -> set[str]:
    if room is None:
        return set(order)
    taken: set[str] = set()
    for key in order:
        if len(groups[key]) <= room:
            room -= len(groups[key])
            taken.add(key)
    return taken


def _valid_groups(
    places: Mapping[str, float], test: set[str], settings: SplitSettings, *, rescale: bool
) -> set[str]:
    """By place, beyond the share of test; where test goes by time, as much of what is left."""
    low, high = settings.test, settings.test + settings.valid
    if rescale:
        low, high = 0.0, settings.valid / (1 - settings.test)
    return {key for key, at in places.items() if key not in test and low <= at < high}


def _newest(members: Sequence[Example]) -> datetime:
    return max(member.occurred_at or _NEVER for member in members)
