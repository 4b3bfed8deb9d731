"""What can be said of examples when they are frozen, and kept when their sources go. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from inhouse.datasets.example import Example, Split
from inhouse.tasks.spec import TaskKind, TaskSpec

_QUANTILES = {"least": 0.0, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "most": 1.0}
_DIGITS = 6


def counts_of(spec: TaskSpec, examples: Sequence[Example]) -> dict[str, Any]:
    """Examples by split; ``labels`` by split where the task has some, ``values`` of a score."""
    by_split = {split.value: [e for e in examples if e.split == split] for split in Split}
    counts: dict[str, Any] = {split: len(members) for split, members in by_split.items()}
    if spec.labels:
        counts["labels"] = {split: _labels(spec, members) for split, members in by_split.items()}
    elif spec.kind is TaskKind.SCORE:
        counts["values"] = {split: _values(members) for split, members in by_split.items()}
    return counts


def _labels(spec: TaskSpec, examples: Sequence[Example]) -> dict[str, int]:
    """Examples of every label of a choice; spans of every type."""
    found = Counter(
        labelled["label"]
        for example in examples
        for labelled in example.target.get("spans", (example.target,))
    )
    return {label: found[label] for label in spec.labels}


def _values(examples: Sequence[Example]) -> dict[str, float] | None:
    values = [float(example.target["value"]) for example in examples]
    if not values:
        return None
    mean = math.fsum(values) / len(values)
    return {"mean": round(mean, 6), "min": min(values), "max": max(values)}


def facts_of(examples: Sequence[Example], authors: int) -> dict[str, Any]:
    """``kinds`` of origin; ``time`` {first, last, undated}; ``characters`` and ``words`` of the
    inputs as quantiles; ``agreement`` {mean, disputed}: the mean quality, and how many examples
    somebody disputes; ``authors``: how many people corrected, those without a name counting as one.
    """
    quality = [example.quality for example in examples]
    return {
        "kinds": dict(sorted(Counter(str(e.origin["kind"]) for e in examples).items())),
        "time": _time([example.occurred_at for example in examples]),
        "characters": _quantiles([len(example.input) for example in examples]),
        "words": _quantiles([len(example.input.split()) for example in examples]),
        "agreement": {
            "mean": round(math.fsum(quality) / len(quality), _DIGITS),
            "disputed": sum(one < 1 for one in quality),
        },
        "authors": authors,
    }


def _time(moments: Sequence[datetime | None]) -> dict[str, Any]:
    known = [moment for moment in moments if moment is not None]
    return {
        "first": min(known, default=None),
        "last": max(known, default=None),
        "undated": len(moments) - len(known),
    }


def _quantiles(lengths: Sequence[int]) -> dict[str, int]:
    """Of at least one length: the smallest that so large a share does not exceed."""
    ordered = sorted(lengths)
    last = len(ordered) - 1
    return {name: ordered[math.ceil(share * last)] for name, share in _QUANTILES.items()}
