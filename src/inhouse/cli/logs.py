"""Logs of long-running commands: one line an event on standard error, never an input."""

from __future__ import annotations

import sys
from contextlib import suppress

import structlog


def configure_logs(level: str = "info") -> None:
    """Plain lines with time, level and keys from ``level`` on; tracebacks without values."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                exception_formatter=structlog.dev.plain_traceback,
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=lambda *_: _Lines(),
    )


class _Lines:
    """Writes to standard error as it is at that time. What it does not take (a full disk, a reader
    who left) is dropped: no call fails for its log."""

    def msg(self, line: str) -> None:
        with suppress(OSError, ValueError):
            print(line, file=sys.stderr, flush=True)

    log = debug = info = warning = error = critical = exception = msg
