"""Notices as lines in the log."""

from __future__ import annotations

from typing import Final

from inhouse.core.log import Log
from inhouse.notify.base import Notice

_log = Log("inhouse.alerts")
_METHODS: Final = {"bad": "error", "warn": "warning"}


class LogChannel:
    """Writes a line at the level of the alert; the end of one is information."""

    def send(self, notice: Notice) -> None:
        """Never fails."""
        name = "info" if notice.status == "resolved" else _METHODS.get(notice.level, "info")
        getattr(_log, name)(
            f"alert {notice.status}",
            code=notice.code,
            about=notice.about,
            title=notice.title,
            text=notice.text,
        )
