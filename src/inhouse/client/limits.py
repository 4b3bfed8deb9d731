"""What ``GET /v1/limits`` answers."""

from __future__ import annotations

from inhouse.client.control import Answer


class Limit(Answer):
    """One limit with what is used up of it. ``scope`` is server, key or upstream, ``id`` that of a
    key ("" otherwise). ``limit`` is its name in the settings, ``most`` its value. Limits by the day
    count all processes of one database, those by the minute the process that answers. ``ratio`` is
    ``used / most``; it is above 1 where calls in flight or ``on_limit = "warn"`` let more through.
    """

    scope: str
    name: str
    id: str
    limit: str
    most: float
    used: float | None
    ratio: float | None
    on_limit: str
