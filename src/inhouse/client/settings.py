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


class SettingValue(BaseModel):
    """One setting in force. ``key`` is its path, such as ``upstreams.local.base_url``. ``value`` is
    as TOML would write it; a secret is ``********``. ``source``: default, file or environment;
    ``line`` is that of ``inhouse.toml`` (None for other sources, and when the file cannot be read).
    ``waits``: the file holds another value, which the next start reads.
    """

    key: str
    value: str
    source: str
    line: int | None
    waits: bool
