"""What the server says of its settings."""

from __future__ import annotations

from pydantic import BaseModel


class SettingsState(BaseModel):
    """The settings in force. ``loaded_at`` is UTC, RFC 3339. ``error``: what is wrong with
    ``inhouse.toml`` now, with file and line; empty when nothing is. ``needs_restart``: changed
    tables that only the next start reads."""

    loaded_at: str
    revision: int
    error: str
    needs_restart: list[str]
