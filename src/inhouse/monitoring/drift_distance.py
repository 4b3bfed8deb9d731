"""How far two samples are apart, and how likely so much is where nothing changed. Pure.

Every distance comes with a bound on its chance under "both samples are drawn alike", in closed
form, so nothing is drawn at random and the same samples give the same answer:

- **numbers** (a length, a share of digits, an answer's value): Kolmogorov and Smirnov's largest gap
  between the two distribution functions, D in [0, 1]. Its chance is at most about
  ``2 exp(-2 D^2 nm / (n + m))``, the first term of Kolmogorov's series.
- **kinds** (labels, types): Jensen and Shannon's distance, 0 for equal shares to 1 for no kind in
  common. Its chance is bounded by exact tests of each kind's share (Fisher), times their number.
- **words** and **meaning**: whether somebody who learned to tell half of the one sample from half
  of the other can tell the other halves apart (a classifier two-sample test, Lopez-Paz and Oquab
  2017): D between the learned score of those halves.

A distance is drift when it is both unlikely (its chance below the level) and large (at least the
least that matters): in thousands of calls everything is unlikely.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

LEVEL: Final = 0.01
"""Chance of a false alarm in ``LOOKS`` looks, of the inputs and of the outputs of one model."""
LOOKS: Final = 30
"""Looks that share the level: a month of daily ones."""
LEAST_ITEMS: Final = 50
"""Items of a side, below which nothing is compared; where something is learned, of each half."""
LEAST_GAP: Final = 0.15
"""Smallest D that matters."""
LEAST_LEARNED_GAP: Final = 0.25
"""Smallest D of what was learned that matters: a guess that is right in some 62 of 100 texts."""
LEAST_KINDS: Final = 0.1
"""Smallest distance of kinds that matters, such as a label's share rising from 20 to 30 %."""
_MOST_KINDS: Final = 50
_OTHER: Final = "(others)"
_WORD: Final = re.compile(r"\w+")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """One comparison of ``before`` items with ``now`` items.

    ``chance`` bounds the probability of such a distance where nothing changed; ``least`` is the
    smallest distance that matters; ``words`` say what moved.
    """

    name: str
    distance: float
    least: float
    chance: float
    before: int
    now: int
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """All comparisons of inputs, or of outputs. ``level`` is what a chance must lie below: each of
    the comparisons has its share of that of one look."""

    gaps: tuple[Gap, ...]
    level: float

    @property
    def drifted(self) -> tuple[Gap, ...]:
        """Those that are both unlikely and large."""
        return tuple(g for g in self.gaps if g.chance <= self.level and g.distance >= g.least)

    @property
    def distance(self) -> float | None:
        """The largest distance; None without a comparison."""
        return max((gap.distance for gap in self.gaps), default=None)


def together(gaps: Iterable[Gap | None], *, level: float = LEVEL, looks: int = LOOKS) -> Side:
    """The comparisons of one side; those that could not be made are None and left out."""
    found = tuple(gap for gap in gaps if gap is not None)
    return Side(gaps=found, level=level / looks / max(1, len(found)))


def numbers(
    name: str, before: Sequence[float], now: Sequence[float], *, least: float = LEAST_GAP
) -> Gap | None:
    """D of two samples of numbers; None below ``LEAST_ITEMS``."""
    if min(len(before), len(now)) < LEAST_ITEMS:
        return None
    low, high = sorted(before), sorted(now)
    distance = largest_gap(low, high)
    words = f"median {low[len(low) // 2]:.3g}, now {high[len(high) // 2]:.3g}"
    return Gap(
        name=name,
        distance=distance,
        least=least,
        chance=gap_chance(distance, len(low), len(high)),
        before=len(low),
        now=len(high),
        words=words,
    )


def kinds(name: str, before: Mapping[str, int], now: Mapping[str, int]) -> Gap | None:
    """Distance of two counts by kind; None below ``LEAST_ITEMS`` in all, or with one kind only."""
    was, is_now = _pooled(before, now)
    n, m = sum(was.values()), sum(is_now.values())
    names = sorted(was.keys() | is_now.keys())
    if min(n, m) < LEAST_ITEMS or len(names) < 2:
        return None
    chances = {kind: share_chance(was[kind], n, is_now[kind], m) for kind in names}
    most = min(names, key=lambda kind: chances[kind])
    return Gap(
        name=name,
        distance=_jensen_shannon([(was[kind] / n, is_now[kind] / m) for kind in names]),
        least=LEAST_KINDS,
        chance=min(1.0, len(names) * chances[most]),
        before=n,
        now=m,
        words=f"{most} {was[most] / n:.0%}, now {is_now[most] / m:.0%}",
    )


def learned(
    name: str,
    before: Sequence[T],
    now: Sequence[T],
    learn: Callable[[Sequence[T], Sequence[T]], Callable[[Sequence[T]], Sequence[float]]],
) -> Gap | None:
    """D between what ``learn`` (from every second item of both) says of the others. None when a
    half has fewer than ``LEAST_ITEMS``."""
    if min(len(before), len(now)) < 2 * LEAST_ITEMS:
        return None
    score = learn(before[::2], now[::2])
    was, is_now = sorted(score(before[1::2])), sorted(score(now[1::2]))
    distance = largest_gap(was, is_now)
    right = (1 + distance) / 2
    return Gap(
        name=name,
        distance=distance,
        least=LEAST_LEARNED_GAP,
        chance=gap_chance(distance, len(was), len(is_now)),
        before=len(before),
        now=len(now),
        words=f"old and new texts are told apart in {right:.0%} of the cases",
    )


def texts(before: Sequence[str], now: Sequence[str]) -> list[Gap | None]:
    """What texts are compared by: length, shares of kinds of characters, and words."""
    counted = [
        numbers(name, [of(text) for text in before], [of(text) for text in now])
        for name, of in FEATURES.items()
    ]
    sets = [[_words(text) for text in side] for side in (before, now)]
    return [*counted, learned("words", sets[0], sets[1], learn_words)]


def learn_words(
    before: Sequence[frozenset[str]], now: Sequence[frozenset[str]]
) -> Callable[[Sequence[frozenset[str]]], list[float]]:
    """Naive Bayes over the words of texts: higher is more like ``now``."""
    was, is_now = (Counter(word for words in side for word in words) for side in (before, now))
    weight = {
        word: math.log((is_now[word] + 0.5) / (len(now) + 1))
        - math.log((was[word] + 0.5) / (len(before) + 1))
        for word in was.keys() | is_now.keys()
    }

    def score(items: Sequence[frozenset[str]]) -> list[float]:
        return [math.fsum(weight.get(word, 0.0) for word in words) for words in items]

    return score


def largest_gap(before: Sequence[float], now: Sequence[float]) -> float:
    """Kolmogorov and Smirnov's D of two ascending samples, ties counted together."""
    n, m, i, j, largest = len(before), len(now), 0, 0, 0.0
    while i < n and j < m:
        at = min(before[i], now[j])
        while i < n and before[i] == at:
            i += 1
        while j < m and now[j] == at:
            j += 1
        largest = max(largest, abs(i / n - j / m))
    return largest


def gap_chance(distance: float, n: int, m: int) -> float:
    """At most how likely a D of this size is where nothing changed; larger still with ties."""
    return min(1.0, 2.0 * math.exp(-2.0 * distance * distance * n * m / (n + m)))


def share_chance(was: int, n: int, is_now: int, m: int) -> float:
    """Twice the smaller tail of Fisher's exact test: ``was`` of ``n`` against ``is_now`` of
    ``m``."""
    hits = was + is_now
    low, high = max(0, hits - m), min(n, hits)
    logs = [_log_choose(n, k) + _log_choose(m, hits - k) for k in range(low, high + 1)]
    top = max(logs)
    weights = [math.exp(one - top) for one in logs]
    at, total = was - low, math.fsum(weights)
    smaller = min(math.fsum(weights[: at + 1]), math.fsum(weights[at:]))
    return min(1.0, 2.0 * smaller / total)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def _jensen_shannon(pairs: Sequence[tuple[float, float]]) -> float:
    """The square root of the divergence in bits."""
    total = 0.0
    for p, q in pairs:
        middle = (p + q) / 2
        total += sum(0.5 * share * math.log2(share / middle) for share in (p, q) if share)
    return math.sqrt(max(0.0, total))


def _pooled(before: Mapping[str, int], now: Mapping[str, int]) -> tuple[Counter[str], Counter[str]]:
    """The most frequent kinds of both together; all others are one."""
    both = Counter(before) + Counter(now)
    kept = {
        kind for kind, _ in sorted(both.items(), key=lambda one: (-one[1], one[0]))[:_MOST_KINDS]
    }
    pooled: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
    for counts, side in zip((before, now), pooled, strict=True):
        for kind, count in counts.items():
            side[kind if kind in kept else _OTHER] += count
    return pooled


def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.lower()))


def _share(of: Callable[[str], bool]) -> Callable[[str], float]:
    return lambda text: sum(map(of, text)) / len(text) if text else 0.0


FEATURES: Final[Mapping[str, Callable[[str], float]]] = {
    "characters": lambda text: float(len(text)),
    "digits": _share(str.isdigit),
    "capitals": _share(str.isupper),
    "marks": _share(lambda c: not (c.isalnum() or c.isspace())),
    "other letters": _share(lambda c: c.isalpha() and not c.isascii()),
}
"""What is counted of every text, by name. The last four are shares of its characters."""
