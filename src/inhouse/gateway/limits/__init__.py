"""What calls may use up, per key, per upstream and for the whole server.

Enters: limits (settings, and those of keys), calls before they run, what they used up afterwards.
Leaves: admissions, with a delay or warnings, and refusals that say whose limit it is and when to
come back. Day budgets (UTC) are shared by all processes on one database: a process knows its own
calls at once and those of others at most 0.25 s after their commit. Limits by the minute are those
of one process.
"""
