"""Telling people: one port, one file for each channel.

Enters: a notice, and the channels that ``inhouse.toml`` declares. Leaves: a message at the other
end, or ``NotDelivered``. Knows no database, no alert and no task: who is told what, and how often,
is decided in ``monitoring.alerts``.
"""
