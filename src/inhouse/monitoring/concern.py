"""One thing that somebody should look at."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Level(StrEnum):
    """How bad: something fails now, something waits for a person, or only worth knowing."""

    BAD = "bad"
    WARN = "warn"
    INFO = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class Concern:
    """One thing to look at. ``code`` says which kind; ``about`` is the reference, task or id that
    it is about; ``text`` says the effect and what to do."""

    code: str
    level: Level
    title: str
    text: str
    about: str
    since: datetime | None = None
