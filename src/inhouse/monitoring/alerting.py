"""What to do about alerts: a function of how they stand, what is found, and the time. Pure.

An alert begins when it is found and ends when nobody has found it for 30 s. It is told once. One of
level bad is told again after the cooldown, while it lasts; one that ends and begins anew within the
cooldown is not told again before it is over.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

from inhouse.monitoring.alert_records import AlertRecord, Key
from inhouse.monitoring.concern import Concern, Level
from inhouse.notify.base import Status

QUIET: Final = timedelta(seconds=30)
SEEN: Final = timedelta(seconds=10)
"""Who sees an alert says so at most this often."""
RETRY_S: Final = 120.0
"""A channel that failed is tried again after so long, then twice as long, up to the cooldown. It is
longer than a channel may take."""
MOST_RETRIES: Final = 5
"""For the notice that an alert is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """Who hears of what, and how often."""

    levels: frozenset[str]
    cooldown: timedelta
    channels: tuple[str, ...]

    def listeners(self, level: str) -> tuple[str, ...]:
        """The channels that hear of an alert of a level."""
        return self.channels if level in self.levels else ()

    def witnesses(self, row: AlertRecord) -> tuple[str, ...]:
        """The channels that are to hear that an alert is over: those that were told of it, whatever
        its level is by then."""
        told = (row.channels or {}) if row.is_told else {}
        return tuple(name for name in self.channels if name in told)


class Verb(StrEnum):
    BEGIN = "begin"
    SEE = "see"
    END = "end"
    TELL = "tell"
    REPEAT = "repeat"


class Step(NamedTuple):
    """One change. ``names``: the channels that are to be told again."""

    verb: Verb
    key: Key
    row: AlertRecord | None
    concern: Concern | None
    names: tuple[str, ...] = ()


def steps(
    rows: Mapping[Key, AlertRecord],
    found: Mapping[Key, Concern],
    late: Mapping[Key, frozenset[str]],
    rules: Rules,
    now: datetime,
) -> list[Step]:
    """What is to be done, in the order of the keys. ``late``: channels that failed and may be tried
    again."""
    made: list[Step] = []
    for key in sorted(rows.keys() | found.keys()):
        row, concern = rows.get(key), found.get(key)
        made += _of_one(key, row, concern, rules, now)
        names = tuple(name for name in rules.channels if name in late.get(key, ()))
        if row is not None and names and not made_of(made, key):
            made.append(Step(Verb.REPEAT, key, row, concern, names))
    return made


def made_of(made: Iterable[Step], key: Key) -> bool:
    """Whether an alert is told anyway."""
    return any(one.key == key and one.verb is not Verb.SEE for one in made)


def _of_one(
    key: Key, row: AlertRecord | None, concern: Concern | None, rules: Rules, now: datetime
) -> list[Step]:
    if concern is None:
        over = row is not None and row.is_open and abs(now - row.seen_at) > QUIET
        return [Step(Verb.END, key, row, None)] if over else []
    if row is None or not row.is_open:
        return [Step(Verb.BEGIN, key, row, concern)]
    made = []
    if abs(now - row.seen_at) >= SEEN:
        made.append(Step(Verb.SEE, key, row, concern))
    if status_due(row, rules, now) is not None:
        made.append(Step(Verb.TELL, key, row, concern))
    return made


def status_due(row: AlertRecord, rules: Rules, now: datetime) -> Status | None:
    """As what an open alert is to be told now, if at all. A clock that jumped far tells once more
    than it should, rather than never again."""
    if not rules.listeners(row.level):
        return None
    if row.told_at is None:
        return "raised"
    if abs(now - row.told_at) < rules.cooldown:
        return None
    if not row.is_told:
        return "raised"
    return "lasting" if row.level == Level.BAD else None


class _Late(NamedTuple):
    row: AlertRecord
    at: float
    tries: int


class Lateness:
    """Which channels have not heard for how long, as one process sees it."""

    def __init__(self) -> None:
        self._known: dict[Key, _Late] = {}

    def due(
        self, rows: Mapping[Key, AlertRecord], rules: Rules, monotonic: float
    ) -> dict[Key, frozenset[str]]:
        """Channels that may be tried again, by alert."""
        self._look(rows, monotonic)
        longest = rules.cooldown.total_seconds()
        found = {}
        for key, (row, at, tries) in self._known.items():
            gives_up = not row.is_open and tries >= MOST_RETRIES
            pause = min(RETRY_S * 2.0**tries, max(RETRY_S, longest))
            if not gives_up and monotonic - at >= pause:
                found[key] = row.failing
        return found

    def tried(self, key: Key, monotonic: float) -> None:
        """Somebody tries it again: the next pause begins."""
        known = self._known[key]
        self._known[key] = known._replace(at=monotonic, tries=known.tries + 1)

    def _look(self, rows: Mapping[Key, AlertRecord], monotonic: float) -> None:
        failing = {key: row for key, row in rows.items() if row.failing}
        for key in self._known.keys() - failing.keys():
            del self._known[key]
        for key, row in failing.items():
            known = self._known.get(key)
            if known is None or _moment(known.row) != _moment(row):
                self._known[key] = _Late(row, monotonic, 0)
            elif known.row.channels != row.channels:
                self._known[key] = _Late(row, monotonic, known.tries)
            else:
                self._known[key] = known._replace(row=row)


def _moment(row: AlertRecord) -> tuple[datetime | None, datetime | None]:
    """When it was told last: another one is another notice, with tries of its own."""
    return row.told_at, row.ended_at
