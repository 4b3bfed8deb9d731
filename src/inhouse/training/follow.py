"""Events of a training run as they happen, in the format of server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Final

import msgspec

from inhouse.core.states import RUNS
from inhouse.db.unit import Database
from inhouse.training import runs
from inhouse.training.runs import Event

EVERY_S: Final = 0.5
MEDIA_TYPE: Final = "text/event-stream"
HEADERS: Final = {"cache-control": "no-store", "x-accel-buffering": "no"}
_SILENCE_S: Final = 15.0


def look(database: Database, run_id: str, after: int) -> tuple[list[Event], bool]:
    """The events above a sequence, and whether the run is over. Raises NotFound."""
    with database.read() as unit:
        is_over = RUNS.is_final(runs.get(unit, run_id).status)
        return runs.events(unit, run_id, after=after), is_over


async def stream(
    database: Database, run_id: str, after: int, stopping: asyncio.Event
) -> AsyncGenerator[bytes]:
    """Events from the one above ``after`` on, until the run is over or the server stops.

    The database is asked twice a second; a comment goes out when nothing happened for 15 s, so that
    nobody on the way takes the connection for dead.
    """
    silent = 0.0
    while not stopping.is_set():
        events, is_over = await asyncio.to_thread(look, database, run_id, after)
        if events:
            after, silent = events[-1].sequence, 0.0
            yield _written(events)
        elif is_over:
            return
        else:
            await pause(stopping, EVERY_S)
            silent += EVERY_S
        if silent >= _SILENCE_S:
            silent = 0.0
            yield b": waiting\n\n"


async def pause(stopping: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until the server stops."""
    try:
        async with asyncio.timeout(seconds):
            await stopping.wait()
    except TimeoutError:
        return


def _written(events: Sequence[Event]) -> bytes:
    return b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n"
        % (
            event.sequence,
            event.kind.encode(),
            msgspec.json.encode({"at": event.at, "data": event.data}),
        )
        for event in events
    )
