"""Stopping all of the machine's own work: a flag that every process sees.

While it is set no worker takes a job, the schedule stands still, automation proposes and begins
nothing, and rollouts go no step further (harm still rolls them back). Jobs that run go on to their
end. Calls are answered as ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import delete, select

from inhouse.core.errors import Conflict
from inhouse.db.base import instant_text, json_text
from inhouse.db.dialects import insert_ignore, table_of
from inhouse.db.tables import Meta
from inhouse.db.unit import ReadUnit, WriteUnit

_NAME: Final = "jobs.paused"
_table = table_of(Meta)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who paused, why and when."""

    actor: str
    reason: str
    at: datetime


def paused(unit: ReadUnit) -> Pause | None:
    """The pause in force; None while work goes on."""
    found = unit.execute(select(_table.c.value).where(_table.c.name == _NAME)).scalar_one_or_none()
    return None if found is None else msgspec.json.decode(found, type=Pause)


def pause(unit: WriteUnit, *, actor: str, reason: str, at: datetime) -> Pause:
    """Pause. A pause that is in force stays as it is."""
    said = json_text({"actor": actor, "reason": reason, "at": instant_text(at)})
    unit.execute(insert_ignore(unit, Meta).values(name=_NAME, value=said))
    return paused(unit) or Pause(actor=actor, reason=reason, at=at)


def resume(unit: WriteUnit) -> bool:
    """Go on. Whether there was a pause."""
    return bool(unit.execute(delete(_table).where(_table.c.name == _NAME)).rowcount)


def check(unit: ReadUnit) -> None:
    """Raise Conflict (``jobs-paused``) while work is paused."""
    found = paused(unit)
    if found is not None:
        raise Conflict(
            f"{found.actor} paused all background work"
            + (f": {found.reason}" if found.reason else ""),
            code="jobs-paused",
            hint="`inhouse jobs resume`",
        )
