"""Texts that nearly repeat one another, and keeping them on one side of the splits. Pure.

Two texts are near by their words when they share enough runs of three words (Jaccard of the sets),
and near by meaning when an encoder's vectors point the same way (cosine). A near repeat stays an
example, its numbers or its answer may differ; but it must not be learned from and scored on.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from heapq import merge
from itertools import chain, islice
from typing import Protocol

from inhouse.core.errors import Invalid
from inhouse.datasets.dedupe import age, normalise
from inhouse.datasets.example import Example, stands_alone
from inhouse.tasks.scoring import item_score
from inhouse.tasks.spec import TaskKind, TaskSpec

_RUN = 3
_MOST_WORDS = 400
_WORDS = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+"
)
_AGREEMENT = 0.75
_SLACK = 1e-9


class NearMethod(StrEnum):
    """How near repeats are found: by words, by words and by meaning, or not at all."""

    TEXT = "text"
    EMBEDDING = "embedding"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class NearSettings:
    """``words``: least Jaccard of the runs of three words. ``meaning``: least cosine, for method
    ``embedding``. Both in (0, 1]; raises Invalid (``near-threshold``) for anything else."""

    method: NearMethod = NearMethod.TEXT
    words: float = 0.6
    meaning: float = 0.9

    def __post_init__(self) -> None:
        for share in (self.words, self.meaning):
            if not 0 < share <= 1:
                raise Invalid(
                    f"no two texts are {share:g} alike",
                    code="near-threshold",
                    hint="a threshold lies above 0, and 1 is the most",
                )


def near_settings(method: str, threshold: float | None = None) -> NearSettings:
    """Settings by the name of a method and the threshold of what it compares by. Raises Invalid
    (``near-method``, ``near-threshold``)."""
    try:
        chosen = NearMethod(method)
    except ValueError:
        raise Invalid(
            f"near repeats are not found by {method!r}",
            code="near-method",
            hint="text, embedding or off",
        ) from None
    if threshold is None:
        return NearSettings(method=chosen)
    if chosen is NearMethod.EMBEDDING:
        return NearSettings(method=chosen, meaning=threshold)
    return NearSettings(method=chosen, words=threshold)


class Scan(Protocol):
    """Texts that are looked at one after another, by their position, in ascending order."""

    def first(self, position: int, sides: Collection[int]) -> int | None:
        """The first text added on one of these sides that is near to this one."""

    def add(self, position: int, side: int) -> None:
        """From here on the text is found, on this side."""


class Nearness(Protocol):
    """Which of some texts are near to each other. It can be scanned several times."""

    def scan(self) -> Scan:
        """Begin with no text added."""


class Encoder(Protocol):
    """Nearness by meaning. ``name`` says by which weights, for the settings of a snapshot."""

    @property
    def name(self) -> str: ...

    def nearness(self, texts: Sequence[str], threshold: float) -> Nearness:
        """Texts whose vectors have at least this cosine are near."""


OpenEncoder = Callable[[], Encoder]


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """Examples, oldest first, each in its group; and by position the older one that it nearly
    repeats. ``moved``: how many are in another group than they came with."""

    examples: tuple[Example, ...]
    repeats: Mapping[int, int]
    moved: int


class WordNearness:
    """Exact nearness by words. Nothing of a text beyond its first 400 words is compared.

    Each text is filed under its rarest runs only, as many as two near texts must have one of in
    common, so that time grows with the texts and not with their pairs.
    """

    def __init__(self, texts: Sequence[str], threshold: float) -> None:
        self._threshold = threshold
        self._runs = _numbered([_runs(text) for text in texts])
        self._sets = [frozenset(runs) for runs in self._runs]

    def scan(self) -> _WordScan:
        """Begin with no text added."""
        return _WordScan(self)

    def filed_under(self, position: int) -> Sequence[int]:
        """The rarest runs of a text: every text near to it is filed under one of them."""
        runs = self._runs[position]
        common = math.ceil(self._threshold * len(runs) - _SLACK)
        return runs[: len(runs) - common + 1]

    def are_near(self, one: int, other: int) -> bool:
        """Whether two texts share enough of their runs."""
        a, b = self._sets[one], self._sets[other]
        shared = len(a & b)
        return shared >= self._threshold * (len(a) + len(b) - shared) - _SLACK


class _WordScan:
    def __init__(self, nearness: WordNearness) -> None:
        self._nearness = nearness
        self._filed: defaultdict[int, defaultdict[int, list[int]]] = defaultdict(
            lambda: defaultdict(list)
        )

    def first(self, position: int, sides: Collection[int]) -> int | None:
        runs = self._nearness.filed_under(position)
        filed = [self._filed[side] for side in sides]
        lists = [found for side in filed for run in runs if (found := side.get(run))]
        before = -1
        for candidate in merge(*lists):
            if candidate != before and self._nearness.are_near(position, candidate):
                return candidate
            before = candidate
        return None

    def add(self, position: int, side: int) -> None:
        for run in self._nearness.filed_under(position):
            self._filed[side][run].append(position)


class _Either:
    """Near by one measure or by the other."""

    def __init__(self, *measures: Nearness) -> None:
        self._measures = measures

    def scan(self) -> _EitherScan:
        return _EitherScan([measure.scan() for measure in self._measures])


class _EitherScan:
    def __init__(self, scans: Sequence[Scan]) -> None:
        self._scans = scans

    def first(self, position: int, sides: Collection[int]) -> int | None:
        found = [scan.first(position, sides) for scan in self._scans]
        return min((one for one in found if one is not None), default=None)

    def add(self, position: int, side: int) -> None:
        for scan in self._scans:
            scan.add(position, side)


def measure(
    examples: Sequence[Example], settings: NearSettings, encoder: Encoder | None
) -> Nearness | None:
    """What is near among these examples; None when nobody wants to know. ``encoder`` is there when
    the method wants it."""
    if settings.method is NearMethod.OFF:
        return None
    texts = [example.input for example in examples]
    by_words = WordNearness(texts, settings.words)
    if settings.method is NearMethod.TEXT or encoder is None:
        return by_words
    return _Either(by_words, encoder.nearness(texts, settings.meaning))


def oldest_first(examples: Sequence[Example]) -> list[Example]:
    """The order in which near repeats are looked for: what came later gives way."""
    return sorted(examples, key=age)


def join(examples: Sequence[Example], nearness: Nearness | None) -> Joined:
    """Put a near repeat that stands alone into the group of the oldest text that it repeats.

    ``examples`` are oldest first. One that belongs to a document, a group or a unit stays with it.
    """
    if nearness is None:
        return Joined(examples=tuple(examples), repeats={}, moved=0)
    scan = nearness.scan()
    joined: list[Example] = []
    repeats: dict[int, int] = {}
    for position, example in enumerate(examples):
        older = scan.first(position, (0,))
        scan.add(position, 0)
        if older is not None:
            repeats[position] = older
            if stands_alone(example.group):
                example = replace(example, group=joined[older].group)
        joined.append(example)
    moved = sum(one.group != other.group for one, other in zip(examples, joined, strict=True))
    return Joined(examples=tuple(joined), repeats=repeats, moved=moved)


def straddling(examples: Sequence[Example], nearness: Nearness | None) -> set[int]:
    """Positions to leave out, so that no two near texts are in different splits: of such a pair
    the younger. ``examples`` are oldest first and have their splits."""
    if nearness is None:
        return set()
    sides = {split: side for side, split in enumerate(sorted({e.split for e in examples}))}
    scan = nearness.scan()
    out: set[int] = set()
    for position, example in enumerate(examples):
        mine = sides[example.split]
        others = [side for side in sides.values() if side != mine]
        if scan.first(position, others) is not None:
            out.add(position)
        else:
            scan.add(position, mine)
    return out


def disagree(spec: TaskSpec, one: Example, other: Example) -> bool:
    """Whether the targets of two near texts contradict each other: another label, a value or an
    object less than 0.75 alike, the same words with other spans. Free texts never do."""
    if spec.kind is TaskKind.TEXT:
        return False
    if spec.kind is TaskKind.SPANS:
        return _spans_differ(one, other)
    return item_score(spec, one.target, other.target) < (
        1.0 if spec.kind is TaskKind.CHOICE else _AGREEMENT
    )


def _spans_differ(one: Example, other: Example) -> bool:
    """Whether words that both texts have are labelled in one, and otherwise or not in the other."""
    return any(
        words in b.input and label not in labels_of(b).get(words, ())
        for a, b in ((one, other), (other, one))
        for words, labels in labels_of(a).items()
        for label in labels
    )


def labels_of(example: Example) -> dict[str, set[str]]:
    """The labels of the words that a spans example marks."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for span in example.target.get("spans", ()):
        found[span["text"]].add(span["label"])
    return dict(found)


def _runs(text: str) -> list[tuple[str, ...]]:
    """Runs of three words, each once; a shorter text is one run."""
    words = list(_first_words(normalise(text)))
    if len(words) <= _RUN:
        return [tuple(words)]
    return list(dict.fromkeys(zip(words, words[1:], words[2:], strict=False)))


def _first_words(text: str) -> Iterator[str]:
    """Words by spaces; of scripts that write none, characters."""
    return (found[0] for found in islice(_WORDS.finditer(text), _MOST_WORDS))


def _numbered(texts: Sequence[Collection[tuple[str, ...]]]) -> list[list[int]]:
    """Runs as numbers, the rarest first."""
    seen = Counter(chain.from_iterable(texts))
    ranked = sorted(seen, key=seen.__getitem__)
    numbers = {run: number for number, run in enumerate(ranked)}
    return [sorted(numbers[run] for run in runs) for runs in texts]
