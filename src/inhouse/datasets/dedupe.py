"""One example per text. Pure.

Two inputs are the same text when their normalised forms are equal.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from inhouse.core.hashing import canonical_json
from inhouse.datasets.example import DropReason, Example

_SIGN = re.compile(r"(?<!\w)[-\u2212](?=\.?\d)")
_POINT = re.compile(r"(?<=\d)[.,](?=\d)|(?<!\w)\.(?=\d)")
_NEVER = datetime.min.replace(tzinfo=UTC)
_DIGITS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicated:
    """One example per text, in the order of the texts, and how many were dropped why."""

    examples: tuple[Example, ...]
    dropped: dict[str, int]


class _Blanks(dict[int, int | str]):
    """For ``str.translate``: every punctuation character becomes a space."""

    def __missing__(self, code: int) -> int | str:
        found: int | str = " " if unicodedata.category(chr(code)).startswith("P") else code
        self[code] = found
        return found


_blanks = _Blanks()


def normalise(text: str) -> str:
    """NFKC, case folded, every run of white space and punctuation one space.

    What belongs to a number stays, in one form: its sign and its point ("-0.5" is not "0 5"). So do
    symbols such as "+", "$" and emoji. A text of nothing but punctuation keeps it.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    numbers = _POINT.sub("\u2396", _SIGN.sub("\u2212", folded))
    return " ".join(numbers.translate(_blanks).split()) or " ".join(folded.split())


def dedupe(examples: Iterable[Example]) -> Deduplicated:
    """Keep one example per text.

    The target is the one with the most weight behind it; of equals, the newest one that a person
    gave through feedback, else the newest. What is kept is the oldest example with that target, in
    the group of the oldest example of all, so that newer copies of a text move nothing; one without
    a time counts as younger than all that have one. Its quality is lowered to the share of the
    weight that agrees.
    """
    texts: defaultdict[str, list[Example]] = defaultdict(list)
    for example in examples:
        texts[normalise(example.input)].append(example)
    kept: list[Example] = []
    duplicate = conflicting = 0
    for text in sorted(texts):
        same = sorted(texts[text], key=age)
        agreeing = _agreeing(same)
        kept.append(_merge(same, agreeing))
        duplicate += len(agreeing) - 1
        conflicting += len(same) - len(agreeing)
    counts = {DropReason.DUPLICATE: duplicate, DropReason.CONFLICTING: conflicting}
    dropped = {reason.value: count for reason, count in counts.items() if count}
    return Deduplicated(examples=tuple(kept), dropped=dropped)


def _merge(same: Sequence[Example], agreeing: Sequence[Example]) -> Example:
    first = agreeing[0]
    share = _weight(agreeing) / _weight(same)
    return replace(first, group=same[0].group, quality=round(first.quality * share, _DIGITS))


def _agreeing(same: Sequence[Example]) -> list[Example]:
    """Those with the winning target, oldest first as they came."""
    by_target: defaultdict[bytes, list[Example]] = defaultdict(list)
    for example in same:
        by_target[canonical_json(example.target)].append(example)
    return max(by_target.values(), key=lambda group: (_weight(group), _newest(group)))


def _newest(examples: Sequence[Example]) -> tuple[bool, datetime, bytes]:
    return max(
        (example.origin["kind"] != "import", example.occurred_at or _NEVER, _content(example))
        for example in examples
    )


def age(example: Example) -> tuple[bool, datetime, bytes]:
    """Sorts oldest first, those without a time last, for nobody knows that they came before; of the
    same instant, by content and group, whatever order they came in."""
    is_undated = example.occurred_at is None
    return (is_undated, example.occurred_at or _NEVER, _content(example))


def _content(example: Example) -> bytes:
    """What is left to the origin in it changes nothing that a snapshot is named by."""
    content = [example.content_hash, example.group, example.input, dict(example.origin)]
    return canonical_json(content)


def _weight(examples: Sequence[Example]) -> float:
    return round(math.fsum(example.weight for example in examples), _DIGITS)
