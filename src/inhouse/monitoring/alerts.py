"""Looks every few seconds for what somebody should look at, keeps it as alerts, and tells channels.

Every server and worker does. They share the table ``Alert``: who finds something says so there, and
whoever wins the compare-and-set on ``told_at`` tells of it, so that people hear of it once. Without
a database a process tells what it knows of itself straight to the channels, which need none, and
keeps it in memory until the database is back.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import NAMESPACE_OID, uuid5

from sqlalchemy.exc import SQLAlchemyError

from inhouse.core.clock import Clock
from inhouse.core.errors import InhouseError
from inhouse.core.log import Log
from inhouse.db.base import instant_text
from inhouse.db.unit import Database
from inhouse.interactions.hours import HOUR, hour_floor
from inhouse.monitoring import alert_records as records
from inhouse.monitoring import attention, metrics
from inhouse.monitoring.alert_records import (
    NOT_YET,
    AlertRecord,
    Book,
    Channels,
    Key,
    MemoryBook,
    StoredBook,
)
from inhouse.monitoring.alerting import Lateness, Rules, Step, Verb, status_due, steps
from inhouse.monitoring.attention import Server
from inhouse.monitoring.concern import Concern
from inhouse.monitoring.queries import Window, count_calls
from inhouse.monitoring.telling import Teller
from inhouse.notify.base import Notice, Notifier, Status
from inhouse.settings import NotifySettings

EVERY_S: Final = 5.0
AWAY: Final = timedelta(seconds=5)
"""A database that fails for less is waited for."""
_LAST_WORDS_S: Final = 5.0
_FAULTS: Final = (InhouseError, SQLAlchemyError, OSError, ValueError)
_log = Log("inhouse")


class Telling(NamedTuple):
    """A notice that this process has the right to tell."""

    notice: Notice
    key: Key
    names: tuple[str, ...]


class Alerter:
    """One per process; ``name`` names it. ``look`` says how the process stands."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        name: str,
        look: Callable[[], Server],
        settings: NotifySettings,
        channels: Mapping[str, Notifier],
    ) -> None:
        self._database = database
        self._clock = clock
        self._name = name
        self._look = look
        self._teller = Teller(channels)
        self._lateness = Lateness()
        self._memory = MemoryBook()
        self._known: Mapping[Key, AlertRecord] = {}
        self._away_since: datetime | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.configure(settings, channels)

    def configure(self, settings: NotifySettings, channels: Mapping[str, Notifier]) -> None:
        """Other channels and rules, for the next look."""
        self._teller.channels = channels
        metrics.expect_notices(channels)
        self._rules = Rules(
            levels=frozenset(settings.levels),
            cooldown=timedelta(seconds=settings.cooldown_s),
            channels=tuple(channels),
        )

    def start(self) -> None:
        """Begin to look, in a thread."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and give what is being told a few seconds."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            thread.join()
            self._teller.join(_LAST_WORDS_S)

    def join(self, timeout_s: float) -> None:
        """Wait until everything was told that is under way."""
        self._teller.join(timeout_s)

    def tick(self) -> None:
        """Look once. What the database raises is no error of it."""
        now, server = self._clock.now(), self._look()
        own = attention.of_process(server)
        try:
            found = self._find(server, own, now)
        except _FAULTS as error:
            lost = attention.cut_off(self._name, since=self._since(now), reason=_words(error))
            self._go_without([*own, lost], now)
            return
        try:
            tellings = self._keep(found, now)
        except _FAULTS as error:
            lost = attention.refused(since=self._since(now), reason=_words(error))
            self._go_without([*own, lost], now)
            return
        self._away_since = None
        for telling in tellings:
            self._tell(telling, self._note)

    def _find(self, server: Server, own: Sequence[Concern], now: datetime) -> dict[Key, Concern]:
        window = Window(since=hour_floor(now) - HOUR, until=hour_floor(now) + HOUR)
        with self._database.read() as unit:
            self._known = records.standing(unit, now)
            stored = attention.of_stored(unit, server, count_calls(unit, window), now=now)
        return {one.key: one for one in (*stored, *own)}

    def _keep(self, found: Mapping[Key, Concern], now: datetime) -> list[Telling]:
        """Bring the table up to date, if anything changed."""
        late = self._lateness.due(self._known, self._rules, self._clock.monotonic())
        planned = steps(self._known, found, late, self._rules, now)
        if not planned and not self._memory.rows:
            return []
        with self._database.write() as unit:
            book = StoredBook(unit)
            made = self._carry(book, found, now)
            if self._memory.rows:
                planned = steps(records.standing(unit, now), found, {}, self._rules, now)
            made += self._take(book, planned, now)
        self._memory = MemoryBook()
        return made

    def _take(self, book: Book, planned: Sequence[Step], now: datetime) -> list[Telling]:
        made: list[Telling] = []
        for step in planned:
            telling = self._step(book, step, now, has_room=len(made) < self._teller.room)
            if telling is not None:
                made.append(telling)
        return made

    def _step(self, book: Book, step: Step, now: datetime, *, has_room: bool) -> Telling | None:
        row, concern = step.row, step.concern
        if step.verb is Verb.BEGIN and concern is not None:
            row = book.begin(concern, now)
        if row is None:
            return None
        match step.verb:
            case Verb.SEE if concern is not None:
                book.see(row, concern, now)
            case Verb.END:
                names = self._rules.witnesses(row)
                if book.end(row, now, dict.fromkeys(names, NOT_YET)) and names:
                    return self._telling(
                        "resolved", replace(row, ended_at=now), concern, names, now
                    )
            case Verb.BEGIN | Verb.TELL if has_room:
                names = self._rules.listeners(row.level)
                status = status_due(row, self._rules, now)
                if status is not None and book.claim(row, now, dict.fromkeys(names, NOT_YET)):
                    return self._telling(status, replace(row, told_at=now), concern, names, now)
            case Verb.REPEAT if has_room:
                self._lateness.tried(row.key, self._clock.monotonic())
                unheard = dict.fromkeys(step.names, NOT_YET)
                if book.reclaim(row, {**(row.channels or {}), **unheard}):
                    status = "raised" if row.is_open else "resolved"
                    return self._telling(status, row, concern, step.names, now)
        return None

    def _go_without(self, own: Sequence[Concern], now: datetime) -> None:
        """Tell what this process knows of itself, and remember it. What the table had told already
        is not told again."""
        if now - self._since(now) < AWAY:
            return
        found: dict[Key, Concern] = {}
        for one in own:
            found.setdefault(one.key, one)
        for key in found:
            known = self._known.get(key)
            if known is not None and known.is_open:
                self._memory.rows.setdefault(key, known)
        rows = dict(self._memory.rows)
        late = self._lateness.due(rows, self._rules, self._clock.monotonic())
        planned = steps(rows, found, late, self._rules, now)
        for telling in self._take(self._memory, planned, now):
            self._tell(telling, self._memory.heard)

    def _carry(
        self, book: StoredBook, found: Mapping[Key, Concern], now: datetime
    ) -> list[Telling]:
        """Store what was told without the database. What was only known here and is gone, is over
        now."""
        made = []
        for key, remembered in sorted(self._memory.rows.items()):
            row, known = remembered, self._known.get(key)
            if row.is_open and key not in found and (known is None or not known.is_open):
                names = self._rules.witnesses(row)
                row = replace(row, ended_at=now, channels=dict.fromkeys(names, NOT_YET))
                if names:
                    made.append(self._telling("resolved", row, None, names, now))
            book.carry(row)
        return made

    def _since(self, now: datetime) -> datetime:
        """Since when the database fails; a clock that jumped back begins anew."""
        if self._away_since is None or self._away_since > now:
            self._away_since = now
        return self._away_since

    def _telling(
        self,
        status: Status,
        row: AlertRecord,
        concern: Concern | None,
        names: tuple[str, ...],
        now: datetime,
    ) -> Telling:
        notice = Notice(
            id=_notice_id(row),
            status=status,
            code=row.code,
            about=row.about,
            level=concern.level.value if concern else row.level,
            title=concern.title if concern else row.title,
            text=concern.text if concern else row.text,
            since=row.since,
            at=now,
            source=self._name,
            raised=row.raised,
        )
        return Telling(notice, row.key, names)

    def _tell(self, telling: Telling, note: Callable[[Key, Channels], None]) -> None:
        self._teller.tell(telling.notice, telling.names, partial(note, telling.key))

    def _note(self, key: Key, results: Channels) -> None:
        with self._database.write() as unit:
            records.heard(unit, key, results)

    def _work(self) -> None:
        failing = False
        while not self._stopping.wait(EVERY_S):
            try:
                self.tick()
            except Exception as error:  # noqa: BLE001 the thread outlives every error
                if not failing:
                    _log.unforeseen("alerts are not looked at", error)
                failing = True
            else:
                failing = False


def _notice_id(row: AlertRecord) -> str:
    """The same for everybody who tells of a row as it stands: whoever tries again may be another
    process."""
    moment = row.told_at if row.is_open else row.ended_at
    told = "" if moment is None else instant_text(moment)
    return str(uuid5(NAMESPACE_OID, "\n".join((*row.key, str(row.is_open), told))))


def _words(error: Exception) -> str:
    """What the database said, without the values of a statement."""
    if isinstance(error, InhouseError):
        return error.message
    return str(getattr(error, "orig", None) or error).strip() or type(error).__name__
