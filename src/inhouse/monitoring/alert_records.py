"""Alerts as they are stored. Every change is a compare-and-set, so that of several processes one
makes it."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from sqlalchemy import ColumnElement, Row, and_, or_, select, update

from inhouse.core.errors import NotFound
from inhouse.db.dialects import insert_ignore, table_of, upsert
from inhouse.db.unit import ReadUnit, WriteUnit
from inhouse.monitoring.concern import Concern
from inhouse.monitoring.tables import Alert

Key = tuple[str, str]
Channels = Mapping[str, str | None]
NOT_YET: Final = "not told yet"
"""What stands in ``channels`` between the claim of a notice and its end."""
KEPT: Final = timedelta(hours=1)
"""How long an alert that is over is still looked at: its last notice may have to be repeated."""
_table = table_of(Alert)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertRecord:
    """An alert as it stands; ``tables.Alert`` says what the fields mean."""

    code: str
    about: str
    level: str
    title: str
    text: str
    raised: int
    since: datetime
    seen_at: datetime
    told_at: datetime | None
    ended_at: datetime | None
    channels: Channels | None

    @property
    def key(self) -> Key:
        return self.code, self.about

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def is_told(self) -> bool:
        """Whether channels heard of it since it began."""
        return self.told_at is not None and self.told_at >= self.since

    @property
    def failing(self) -> frozenset[str]:
        """Channels that have not heard what was told last."""
        return frozenset(name for name, error in (self.channels or {}).items() if error)


class Book(Protocol):
    """Where alerts are kept: the database, or the memory of a process without one.

    All but ``begin`` return whether this process made the change; somebody else did otherwise.
    """

    def begin(self, concern: Concern, now: datetime) -> AlertRecord: ...
    def see(self, row: AlertRecord, concern: Concern, now: datetime) -> bool: ...
    def end(self, row: AlertRecord, now: datetime, channels: Channels) -> bool: ...
    def claim(self, row: AlertRecord, now: datetime, channels: Channels) -> bool: ...
    def reclaim(self, row: AlertRecord, channels: Channels) -> bool: ...


class StoredBook:
    """Alerts in the table, for all processes. Whoever writes takes them in the order of their keys,
    so that none waits for another that waits for it."""

    def __init__(self, unit: WriteUnit) -> None:
        self._unit = unit

    def begin(self, concern: Concern, now: datetime) -> AlertRecord:
        """Open it, unless somebody did. One that was over begins anew."""
        code, about = concern.key
        fresh = {**_fields(concern), "raised": 1, "since": concern.since or now, "seen_at": now}
        ours = insert_ignore(self._unit, Alert).values(code=code, about=about, **fresh)
        if not self._unit.execute(ours).rowcount:
            again = {**fresh, "raised": _table.c.raised + 1, "since": now, "ended_at": None}
            self._change(_is((code, about)), _table.c.ended_at.is_not(None), **again)
        return get(self._unit, code, about)

    def see(self, row: AlertRecord, concern: Concern, now: datetime) -> bool:
        """It is still there."""
        return self._change(_is(row.key), _OPEN, seen_at=now, **_fields(concern))

    def end(self, row: AlertRecord, now: datetime, channels: Channels) -> bool:
        """It is over, unless somebody saw it since; ``channels`` are to hear of that."""
        unseen = _table.c.seen_at == row.seen_at
        return self._change(_is(row.key), _OPEN, unseen, ended_at=now, channels=dict(channels))

    def claim(self, row: AlertRecord, now: datetime, channels: Channels) -> bool:
        """The right to tell of it."""
        untold = _table.c.told_at.is_not_distinct_from(row.told_at)
        return self._change(_is(row.key), _OPEN, untold, **_told(row, now, channels))

    def reclaim(self, row: AlertRecord, channels: Channels) -> bool:
        """The right to tell of it once more those who have not heard."""
        before = None if row.channels is None else dict(row.channels)
        same = _table.c.channels.is_not_distinct_from(before)
        return self._change(_is(row.key), same, channels=dict(channels))

    def carry(self, row: AlertRecord) -> None:
        """Keep what a process told while it had no database."""
        found = self._unit.execute(select(_table).where(_is(row.key))).one_or_none()
        told = {"told_at": row.told_at, "channels": row.channels and dict(row.channels)}
        if found is not None and found.ended_at is None:
            if row.told_at and (found.told_at is None or found.told_at < row.told_at):
                self._change(_is(row.key), _OPEN, **told)
            if row.ended_at is not None:
                self._change(_is(row.key), _OPEN, ended_at=row.ended_at)
            return
        values = {name: getattr(row, name) for name in AlertRecord.__slots__}
        values |= told | {"raised": 1 if found is None else found.raised + 1}
        upsert(self._unit, Alert, ["code", "about"], values)

    def _change(self, *where: ColumnElement[bool], **values: Any) -> bool:
        return self._unit.execute(update(_table).where(*where).values(**values)).rowcount == 1


class MemoryBook:
    """Alerts of a process that has no database."""

    def __init__(self) -> None:
        self.rows: dict[Key, AlertRecord] = {}
        self._lock = threading.Lock()

    def begin(self, concern: Concern, now: datetime) -> AlertRecord:
        old = self.rows.get(concern.key)
        code, about = concern.key
        row = AlertRecord(
            code=code,
            about=about,
            raised=1 if old is None else old.raised + 1,
            since=now if old is not None else concern.since or now,
            seen_at=now,
            told_at=None if old is None else old.told_at,
            ended_at=None,
            channels=None,
            **_fields(concern),
        )
        self.rows[row.key] = row
        return row

    def see(self, row: AlertRecord, concern: Concern, now: datetime) -> bool:
        return self._change(row, seen_at=now, **_fields(concern))

    def end(self, row: AlertRecord, now: datetime, channels: Channels) -> bool:
        return self._change(row, ended_at=now, channels=dict(channels))

    def claim(self, row: AlertRecord, now: datetime, channels: Channels) -> bool:
        return self._change(row, **_told(row, now, channels))

    def reclaim(self, row: AlertRecord, channels: Channels) -> bool:
        return self._change(row, channels=dict(channels))

    def heard(self, key: Key, results: Channels) -> None:
        """Note who heard, and why others did not."""
        with self._lock:
            row = self.rows[key]
            self.rows[key] = replace(row, channels={**(row.channels or {}), **results})

    def _change(self, row: AlertRecord, **values: Any) -> bool:
        with self._lock:
            self.rows[row.key] = replace(self.rows[row.key], **values)
        return True


_OPEN: Final = _table.c.ended_at.is_(None)


def list_alerts(
    unit: ReadUnit, *, open_only: bool = False, code: str | None = None, limit: int = 100
) -> list[AlertRecord]:
    """Open ones first, those that were seen last first."""
    statement = select(_table).order_by(
        _table.c.ended_at.is_not(None), _table.c.seen_at.desc(), _table.c.code, _table.c.about
    )
    if open_only:
        statement = statement.where(_OPEN)
    if code is not None:
        statement = statement.where(_table.c.code == code)
    return [_record(row) for row in unit.execute(statement.limit(limit))]


def get(unit: ReadUnit, code: str, about: str) -> AlertRecord:
    """One alert. Raises NotFound (``alert-not-found``)."""
    row = unit.execute(select(_table).where(_is((code, about)))).one_or_none()
    if row is None:
        raise NotFound(
            f"there is no alert {' '.join(filter(None, (code, about)))}",
            code="alert-not-found",
            hint="`inhouse alerts list` shows those there are",
        )
    return _record(row)


def standing(unit: ReadUnit, now: datetime) -> dict[Key, AlertRecord]:
    """Every alert that is open, or was over a short time ago."""
    statement = select(_table).where(or_(_OPEN, _table.c.ended_at > now - KEPT))
    return {row.key: row for row in map(_record, unit.execute(statement))}


def heard(unit: WriteUnit, key: Key, results: Channels) -> None:
    """Note who heard, and why others did not."""
    found = select(_table.c.channels).where(_is(key)).with_for_update()
    channels = unit.execute(found).scalar_one_or_none() or {}
    merged = {**channels, **results}
    unit.execute(update(_table).where(_is(key)).values(channels=merged))


def _is(key: Key) -> ColumnElement[bool]:
    return and_(_table.c.code == key[0], _table.c.about == key[1])


def _told(row: AlertRecord, now: datetime, channels: Channels) -> dict[str, Any]:
    """A clock that was ahead when it began must not make it begin after it was told."""
    return {"told_at": now, "since": min(row.since, now), "channels": dict(channels)}


def _fields(concern: Concern) -> dict[str, Any]:
    return {"level": concern.level.value, "title": concern.title, "text": concern.text}


def _record(row: Row[Any]) -> AlertRecord:
    return AlertRecord(**row._mapping)
