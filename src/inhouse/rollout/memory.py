"""What a process knows of a rollout: its evidence, and how that is stored so that it can be told
again, exactly.

An intake is stored whenever something is decided. Between decisions the newest one grows in place,
every two seconds at most, and a new one begins when it has lasted for half a percent of the
rollout's age, or holds enough: so a quiet rollout of a month has some two thousand of them, and not
five million. What was counted and not stored yet is lost with its process, and counted again by the
next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from inhouse.rollout.enact import Taken
from inhouse.rollout.intake_records import LabelRecord
from inhouse.rollout.tally import Seen, Tally

KEEP_S: Final = 2.0
"""Seconds that something counted may wait to be stored."""
SPAN_S: Final = 5.0
SPAN_SHARE: Final = 0.005
"""How long one intake grows: so many seconds, or that share of the rollout's age if it is more."""
MOST_PIECES: Final = 400
"""Changes between processes, and labels, that one intake holds at most before the next begins."""
MOST_OUTCOMES: Final = 10_000
"""Outcomes that one intake holds before the next begins, so that it is read again in one go."""


@dataclass(slots=True)
class Counted:
    """What one step counted. ``ends`` are the last outcomes of the processes that had any;
    ``upto`` names the processes that were looked at. ``outcomes``: how many."""

    upto: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    labels: list[LabelRecord] = field(default_factory=list)
    outcomes: int = 0

    def __bool__(self) -> bool:
        return bool(self.ends or self.labels)


@dataclass(slots=True)
class _Growing:
    """The intake that is growing. ``is_stored``: there is a row of it."""

    since: datetime | None = None
    order: list[tuple[str | None, int]] = field(default_factory=list)
    upto: dict[str, int] = field(default_factory=dict)
    labels: list[LabelRecord] = field(default_factory=list)
    outcomes: int = 0
    is_stored: bool = False
    is_news: bool = False

    def add(self, counted: Counted, at: datetime) -> None:
        self.since = self.since or at
        self.upto.update(counted.upto)
        self.outcomes += counted.outcomes
        self.is_news = True
        for process, number in sorted(counted.ends.items()):
            if self.order and self.order[-1][0] == process:
                self.order.pop()
            self.order.append((process, number))
        if counted.labels:
            self.order.append((None, len(counted.labels)))
            self.labels += counted.labels

    def is_full(self, at: datetime, begun_at: datetime) -> bool:
        """Whether what comes now belongs to the next one."""
        if not self.is_stored or self.is_news or self.since is None:
            return False
        lasted, age_s = (at - self.since).total_seconds(), (at - begun_at).total_seconds()
        pieces = len(self.order) + len(self.labels)
        is_large = pieces >= MOST_PIECES or self.outcomes >= MOST_OUTCOMES
        return is_large or not 0.0 <= lasted < max(SPAN_S, SPAN_SHARE * age_s)

    def in_order(self) -> tuple[tuple[str | None, int], ...]:
        """What was counted, and at the end how far was looked where nothing was found."""
        ends: dict[str | None, int] = dict(self.order)
        rest = ((p, n) for p, n in sorted(self.upto.items()) if ends.get(p) != n)
        return (*self.order, *rest)


@dataclass(slots=True)
class Memory:
    """The evidence of a rollout after ``intakes`` of them, and what was counted since. It began at
    ``begun_at``, and anew at ``fresh_at``. ``still``: it must not go forward now."""

    begun_at: datetime
    tally: Tally
    intakes: int
    upto: dict[str, int]
    labelled: set[str]
    first_revision: int
    fresh_at: datetime
    labels_since: datetime
    still: bool = False
    _growing: _Growing = field(default_factory=_Growing)
    _kept_at: datetime | None = None

    def count(self, seen: Seen, counted: Counted) -> None:
        """Count one outcome."""
        self.tally.outcome(seen)
        counted.upto[seen.process] = counted.ends[seen.process] = seen.number
        counted.outcomes += 1

    def label(self, label: LabelRecord) -> None:
        """Count one label."""
        if label.paired_error is not None:
            self.tally.pair(candidate_error=label.error, incumbent_error=label.paired_error)
        else:
            self.tally.label(
                unit=label.unit,
                candidate=label.candidate,
                weight_bp=label.weight_bp,
                error=label.error,
            )
        self.labelled.add(label.interaction_id)

    def note(self, counted: Counted, at: datetime) -> None:
        """Keep in mind what a step counted until it is stored."""
        self.upto.update(counted.upto)
        if not counted:
            return
        if self._growing.is_full(at, self.begun_at):
            self._growing = _Growing()
        self._growing.add(counted, at)

    def is_due(self, at: datetime) -> bool:
        """Whether something was counted, and has waited long enough to be stored."""
        if self._kept_at is None:
            return self.is_news
        waited = (at - self._kept_at).total_seconds()
        return self.is_news and not 0.0 <= waited < KEEP_S

    @property
    def is_news(self) -> bool:
        """Whether something was counted that is not stored."""
        return self._growing.is_news

    def taken(self, reading: Mapping[str, Any]) -> Taken:
        """What is to be stored, with the reading of the evidence as it is now."""
        growing = self._growing
        return Taken(
            counted=growing.in_order(),
            labels=tuple(growing.labels),
            reading=reading,
            grows=growing.is_stored,
        )

    def stored(self, taken: Taken, at: datetime, *, decided: bool) -> None:
        """It is stored. What is decided ends its intake."""
        self.intakes += not taken.grows
        self._kept_at = at
        self._growing.is_stored, self._growing.is_news = True, False
        if decided:
            self._growing = _Growing()

    def begin(self, at: datetime) -> None:
        """The evidence begins anew, with an intake that counts nothing."""
        self.intakes += 1
        self.tally.begin()
        self.fresh_at = at
