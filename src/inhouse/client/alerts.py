"""Alerts as they travel."""

from __future__ import annotations

from datetime import datetime

from inhouse.client.control import Answer


class Alert(Answer):
    """Something that somebody should look at; open until ``ended_at``.

    ``about`` is the reference, task, id or process that ``code`` is about, "" where there is only
    one. ``level``: bad (fails now), warn (waits for a person), info. ``raised``: how often it
    began. ``seen_at``: when a process found it last. ``told_at``: when channels were told last,
    null when they were not; ``channels``: their errors by name, null for those that heard it.
    """

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
    channels: dict[str, str | None] | None
