"""Logs of long-running commands: one line an event on standard error, never an input."""

from __future__ import annotations

import sys

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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
