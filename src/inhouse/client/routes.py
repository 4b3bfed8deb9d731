"""What travels on the route of the kill switch."""

from __future__ import annotations

from inhouse.client.control import Reason, Request


class RollbackAll(Request):
    """Send every task back to its incumbent, at once."""

    reason: Reason
