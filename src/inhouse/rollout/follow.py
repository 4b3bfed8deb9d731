"""Changes of a rollout as they happen, in the format of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Final

import msgspec
from sqlalchemy import func, select

from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.rollout import records
from inhouse.rollout.tables import RolloutDecision
from inhouse.rollout.tell import weight_of
from inhouse.training.follow import pause

DECISION: Final = "decision"
READING: Final = "reading"
EVERY_S: Final = 1.0
_SILENCE_S: Final = 10.0
_decisions = table_of(RolloutDecision)


@dataclass(frozen=True, slots=True)
class Now:
    """A rollout at a glance. ``revision`` grows with everything that is counted or decided."""

    revision: int
    decisions: int
    state: str
    weight_bp: int
    is_over: bool


def look(database: Database, rollout_id: str) -> Now:
    """How a rollout stands. Raises NotFound (``rollout-not-found``)."""
    made = select(func.count()).where(_decisions.c.rollout_id == rollout_id)
    with database.read() as unit:
        rollout = records.get(unit, rollout_id)
        decisions: int = unit.execute(made).scalar_one()
    weight = weight_of(rollout)
    return Now(rollout.revision, decisions, rollout.state.value, weight, rollout.is_over)


async def stream(
    database: Database, rollout_id: str, after: int, stopping: asyncio.Event
) -> AsyncGenerator[bytes]:
    """An event for every revision above ``after``, at most one a second, until the rollout or the
    server ends: ``decision`` when something was decided since the last, else ``reading``. Another
    ``reading`` comes after 10 s without one: waits grow without calls too."""
    known, silent = -1, 0.0
    while not stopping.is_set():
        now = await asyncio.to_thread(look, database, rollout_id)
        is_news = now.revision > after
        if is_news or silent >= _SILENCE_S:
            decided = is_news and now.decisions != known
            after, known, silent = now.revision, now.decisions, 0.0
            yield _written(DECISION if decided else READING, now)
        if now.is_over:
            return
        await pause(stopping, EVERY_S)
        silent += EVERY_S


def _written(kind: str, now: Now) -> bytes:
    data = msgspec.json.encode({"state": now.state, "weight_bp": now.weight_bp})
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (now.revision, kind.encode(), data)
