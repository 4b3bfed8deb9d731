"""What a snapshot is to hold: without repeats, near ones joined, split, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from inhouse.core.errors import Invalid, Unavailable
from inhouse.datasets import near
from inhouse.datasets.curate import Curated
from inhouse.datasets.dedupe import dedupe
from inhouse.datasets.example import DropReason, Example
from inhouse.datasets.near import Encoder, NearMethod, NearSettings, OpenEncoder
from inhouse.datasets.split import SplitSettings, assign
from inhouse.tasks.spec import TaskSpec

_MOST_PAIRS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildSettings:
    """How examples are chosen (``since`` inclusive, ``until`` exclusive), near repeats found, and
    all of it split."""

    split: SplitSettings = field(default_factory=SplitSettings)
    near: NearSettings = field(default_factory=NearSettings)
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Arranged:
    """What is to be frozen, in its order."""

    examples: Sequence[Example]
    dropped: Mapping[str, int]
    near: Mapping[str, Any]
    settings: Mapping[str, Any]


def encoder_of(settings: NearSettings, open_encoder: OpenEncoder | None) -> Encoder | None:
    """What compares by meaning, where the settings ask for it. Raises Unavailable
    (``near-encoder``) when nothing can."""
    if settings.method is not NearMethod.EMBEDDING:
        return None
    if open_encoder is None:
        raise Unavailable(
            "no encoder is there to compare texts by meaning",
            code="near-encoder",
            hint="near repeats are found by their words with `--near text`",
        )
    return open_encoder()


def arrange(
    spec: TaskSpec, curated: Curated, settings: BuildSettings, encoder: Encoder | None
) -> Arranged:
    """Arrange what was collected. Raises Invalid (``no-examples``) when nothing is left of it."""
    unique = dedupe(curated.examples)
    dropped = Counter(curated.dropped) + Counter(unique.dropped)
    if not unique.examples:
        raise _nothing(spec, dropped)
    aged = near.oldest_first(unique.examples)
    nearness = near.measure(aged, settings.near, encoder)
    joined = near.join(aged, nearness)
    split = assign(joined.examples, salt=spec.name, settings=settings.split)
    out = near.straddling(split, nearness)
    if out:
        dropped[DropReason.NEAR_DUPLICATE.value] = len(out)
    kept = [position for position in range(len(split)) if position not in out]
    kept.sort(key=lambda position: (split[position].content_hash, split[position].input))
    found = {
        "repeats": len(joined.repeats),
        "moved": joined.moved,
        "left_out": len(out),
        **_disagreeing(spec, split, joined.repeats, kept),
    }
    return Arranged(
        examples=[split[position] for position in kept],
        dropped=dict(dropped),
        near={} if nearness is None else found,
        settings=_plain(settings, encoder),
    )


def _disagreeing(
    spec: TaskSpec, examples: Sequence[Example], repeats: Mapping[int, int], kept: Sequence[int]
) -> dict[str, Any]:
    """How many near repeats contradict what they repeat; pairs of positions in the snapshot."""
    found = [
        pair
        for pair in repeats.items()
        if near.disagree(spec, examples[pair[0]], examples[pair[1]])
    ]
    places = {position: place for place, position in enumerate(kept)}
    pairs = sorted(
        [places[younger], places[older]]
        for younger, older in found
        if younger in places and older in places
    )
    return {"disagreeing": len(found), "pairs": pairs[:_MOST_PAIRS]}


def _plain(settings: BuildSettings, encoder: Encoder | None) -> dict[str, Any]:
    split, found = settings.split, settings.near
    by_words = found.method is not NearMethod.OFF
    return {
        "valid": split.valid,
        "test": split.test,
        "max_test": split.max_test,
        "newest": split.newest,
        "test_after": split.test_after,
        "since": settings.since,
        "until": settings.until,
        "near": found.method.value,
        "near_words": found.words if by_words else None,
        "near_meaning": found.meaning if encoder else None,
        "near_encoder": encoder.name if encoder else None,
    }


def _nothing(spec: TaskSpec, dropped: Mapping[str, int]) -> Invalid:
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()))
    return Invalid(
        f"{spec.name} has nothing to learn from"
        + (f"; left out: {reasons}" if reasons else ": no corrections, no imported examples"),
        code="no-examples",
        hint=f"`inhouse feedback add` corrects answers, `inhouse dataset import {spec.name}` adds"
        " labelled texts",
    )
