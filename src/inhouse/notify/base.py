"""The port of every channel, and what it carries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from inhouse.core.errors import InhouseError
from inhouse.core.ids import new_id

Status = Literal["raised", "lasting", "resolved", "test"]


class NotDelivered(InhouseError):
    """A channel could not hand a notice over."""

    status = 502
    default_code = "not-delivered"


class DeliveredInPart(NotDelivered):
    """Some of those behind a channel heard it, and would hear a repeat of it."""

    default_code = "delivered-in-part"


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a channel tells. ``status``: the alert began, still lasts, is over; or a test.

    ``id`` is the same for every channel and every try, so that a receiver can drop repeats.
    ``source`` is the process that tells. ``raised``: how often the alert began so far.
    """

    id: str
    status: Status
    code: str
    about: str
    level: str
    title: str
    text: str
    since: datetime
    at: datetime
    source: str
    raised: int = 1

    @property
    def subject(self) -> str:
        """One line."""
        word = self.level if self.status in ("raised", "lasting") else self.status
        again = "still: " if self.status == "lasting" else ""
        return f"[inhouse] {word}: {again}{' '.join(self.title.split())}"

    @property
    def runbook(self) -> str:
        """Where the documentation says what to do; "" for a test."""
        return "" if self.status == "test" else f"docs/runbooks/{self.code}.md"

    @property
    def body(self) -> str:
        """A few lines of plain text."""
        lines = [self.text, ""]
        lines += [
            f"{self.code} {self.about}".rstrip() + f", since {self.since:%Y-%m-%d %H:%M:%S} UTC"
        ]
        lines += [f"What to do: {self.runbook}"] if self.runbook else []
        return "\n".join([*lines, f"Told by {self.source} at {self.at:%Y-%m-%d %H:%M:%S} UTC."])

    def as_json(self) -> dict[str, Any]:
        """What a webhook gets."""
        return {
            "id": self.id,
            "status": self.status,
            "code": self.code,
            "about": self.about,
            "level": self.level,
            "title": self.title,
            "text": self.text,
            "since": self.since.isoformat(),
            "at": self.at.isoformat(),
            "raised": self.raised,
            "runbook": self.runbook,
            "source": self.source,
        }


class Notifier(Protocol):
    """A channel."""

    def send(self, notice: Notice) -> None:
        """Hand a notice over, from any thread; blocks for a bounded time. Raises NotDelivered."""


def trial(*, at: datetime, source: str) -> Notice:
    """What ``inhouse notify test`` sends."""
    return Notice(
        id=new_id(),
        status="test",
        code="test",
        about="",
        level="info",
        title="A test of this channel",
        text="Somebody ran `inhouse notify test`. Nothing is wrong.",
        since=at,
        at=at,
        source=source,
    )
