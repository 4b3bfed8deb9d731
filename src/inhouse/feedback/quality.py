"""What several statements about one interaction add up to, and how far they can be trusted. Pure.

Within one author the newest statement holds. Over the authors a choice goes to the majority (a tie
to the newest statement) and a score to the median. Quality is the agreement in [0, 1].
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from inhouse.core.hashing import canonical_json
from inhouse.tasks.spec import TaskKind, TaskSpec

_DIGITS = 6


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

    Quality of a choice: share of the authors who say so. Quality of a score: 1 - mean distance of
    the authors' values to their median, in widths of the range. ``feedback_ids`` are the statements
    that still hold, oldest first, agreeing or not. Raises ValueError for no votes.
    """
    if not votes:
        raise ValueError("there is nothing to settle")
    holding = _newest_by_author(votes)
    decide = _majority if spec.kind is TaskKind.CHOICE else _median
    target, quality = decide(spec, holding)
    return Settled(
        target=target,
        quality=round(quality, _DIGITS),
        feedback_ids=tuple(vote.feedback_id for vote in holding),
    )


def _newest_by_author(votes: Sequence[Vote]) -> list[Vote]:
    newest = {vote.author: vote for vote in sorted(votes, key=lambda vote: vote.order)}
    return sorted(newest.values(), key=lambda vote: vote.order)


def _majority(_spec: TaskSpec, votes: Sequence[Vote]) -> tuple[dict[str, Any], float]:
    """Votes come oldest first, so that the last one of the most frequent targets breaks a tie."""
    counts: dict[bytes, int] = {}
    for vote in votes:
        name = canonical_json(vote.target)
        counts[name] = counts.get(name, 0) + 1
    most = max(counts.values())
    winner = [vote for vote in votes if counts[canonical_json(vote.target)] == most][-1]
    return dict(winner.target), most / len(votes)


def _median(spec: TaskSpec, votes: Sequence[Vote]) -> tuple[dict[str, Any], float]:
    values = [float(vote.target["value"]) for vote in votes]
    middle = statistics.median(values)
    distance = math.fsum(abs(value - middle) for value in values) / len(values)
    return {"value": middle}, max(0.0, 1.0 - distance / spec.span)
