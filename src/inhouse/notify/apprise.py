"""Notices through Apprise, which reaches chats, phones and about a hundred services more."""

from __future__ import annotations

from typing import Final

import apprise

from inhouse.core.errors import Invalid
from inhouse.notify.base import NotDelivered, Notice

_KINDS: Final = {
    "bad": apprise.NotifyType.FAILURE,
    "warn": apprise.NotifyType.WARNING,
    "info": apprise.NotifyType.INFO,
}


class AppriseChannel:
    """One address in Apprise's own writing, such as ``slack://...``.

    Raises Invalid (``apprise-url``) for one that it does not know; the address is never repeated,
    since it holds passwords.
    """

    def __init__(self, url: str) -> None:
        self._service = apprise.Apprise()
        if not self._service.add(url):
            raise Invalid("Apprise does not understand the url", code="apprise-url")

    def send(self, notice: Notice) -> None:
        """Raises NotDelivered. Apprise writes the reason to its own log and tells no more."""
        kind = _KINDS.get(notice.level, apprise.NotifyType.INFO)
        if notice.status == "resolved":
            kind = apprise.NotifyType.SUCCESS
        if not self._service.notify(title=notice.subject, body=notice.body, notify_type=kind):
            raise NotDelivered("Apprise could not deliver it; its log line says why")
