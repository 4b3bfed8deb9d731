"""What several statements about one interaction add up to, and how far they can be trusted. Pure.

Within one author the newest statement holds. Over the authors:

- a choice goes to the majority, a tie to the newest statement;
- a score to the median;
- a span holds when most authors have it, of a tie when the newest statement has it;
- an object goes field by field to the median of a number and the majority of anything else, a tie
  to the newest; when the fields do not fit together, the newest statement holds whole;
- a text is the newest.

Quality is the agreement in [0, 1]: the mean score of the authors' answers against the result.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inhouse.core.errors import Invalid
from inhouse.core.hashing import canonical_json
from inhouse.tasks.outputs import check
from inhouse.tasks.scoring import item_score
from inhouse.tasks.spec import TaskKind, TaskSpec

_DIGITS = 6
_LEFT_OUT = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """One statement of the right output. Authors who give no name count as one."""

    feedback_id: str
    author: str | None
    target: Mapping[str, Any]
    at: datetime

    @property
    def order(self) -> tuple[datetime, str]:
        """Newest last; statements of the same instant in the order of their ids."""
        return (self.at, self.feedback_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """What the votes add up to: the target, the agreement on it, and the votes that counted."""

    target: dict[str, Any]
    quality: float
    feedback_ids: tuple[str, ...]


def settle(spec: TaskSpec, votes: Sequence[Vote]) -> Settled:
    """One target out of at least one vote, all of them valid outputs of the task.

    Quality of a choice is the share of the authors who say so; of a score 1 - mean distance of the
    authors' values to their median, in widths of the range. ``feedback_ids`` are the statements
    that still hold, oldest first, agreeing or not. Raises ValueError for no votes.
    """
    if not votes:
        raise ValueError("there is nothing to settle")
    holding = _newest_by_author(votes)
    target = _target(spec, [vote.target for vote in holding])
    scores = [item_score(spec, vote.target, target) for vote in holding]
    return Settled(
        target=target,
        quality=round(math.fsum(scores) / len(scores), _DIGITS),
        feedback_ids=tuple(vote.feedback_id for vote in holding),
    )


def _newest_by_author(votes: Sequence[Vote]) -> list[Vote]:
    newest = {vote.author: vote for vote in sorted(votes, key=lambda vote: vote.order)}
    return sorted(newest.values(), key=lambda vote: vote.order)


def _target(spec: TaskSpec, said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One output from those of the authors, oldest first."""
    match spec.kind:
        case TaskKind.CHOICE:
            return dict(_majority(said))
        case TaskKind.SCORE:
            return {"value": statistics.median(float(each["value"]) for each in said)}
        case TaskKind.SPANS:
            return {"spans": _common([each["spans"] for each in said])}
        case TaskKind.JSON:
            return _composed(spec, said)
        case TaskKind.TEXT:
            return dict(said[-1])


def _majority(said: Sequence[Any]) -> Any:
    """The most frequent value; the last one of the most frequent breaks a tie."""
    names = [b"" if value is _LEFT_OUT else canonical_json(value) for value in said]
    most = max(names.count(name) for name in names)
    return next(
        value
        for name, value in zip(reversed(names), reversed(said), strict=True)
        if names.count(name) == most
    )


def _common(said: Sequence[Sequence[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Spans that more than half of the authors have, or half and the newest. Two that overlap
    cannot both: an author would have both."""
    counts: dict[bytes, int] = {}
    for spans in said:
        for span in spans:
            counts[canonical_json(span)] = counts.get(canonical_json(span), 0) + 1
    newest = {canonical_json(span) for span in said[-1]}
    found = {}
    for span in (span for spans in said for span in spans):
        name = canonical_json(span)
        if 2 * counts[name] + (name in newest) > len(said):
            found[name] = dict(span)
    return sorted(found.values(), key=lambda span: (span["start"], span["end"]))


def _composed(spec: TaskSpec, said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    composed = {}
    for name in dict.fromkeys(name for each in said for name in each):
        value = _field([each.get(name, _LEFT_OUT) for each in said])
        if value is not _LEFT_OUT:
            composed[name] = value
    try:
        return check(spec, composed)
    except Invalid:
        return dict(said[-1])


def _field(values: Sequence[Any]) -> Any:
    if all(type(value) in (int, float) for value in values):
        return statistics.median_low(values) if int in map(type, values) else _middle(values)
    return _majority(values)


def _middle(values: Sequence[float]) -> float:
    return float(statistics.median(values))
