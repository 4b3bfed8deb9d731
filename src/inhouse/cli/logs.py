"""Logs of long-running commands: one line an event on standard error, never an input."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from datetime import UTC, datetime


def configure_logs(level: str = "info") -> None:
    """Plain lines with time, level and values from ``level`` on; tracebacks without values."""
    lines = _Lines()
    lines.setFormatter(_Plain())
    ours = logging.getLogger("inhouse")
    ours.handlers = [lines]
    ours.setLevel(level.upper())


class _Plain(logging.Formatter):
    """``2026-01-31T09:00:00.000000Z [info     ] job-started  job=... name=training.run``"""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        values: dict[str, object] = getattr(record, "values", {})
        said = "".join(f" {name}={_shown(value)}" for name, value in sorted(values.items()))
        line = (
            f"{at[:-6]}Z [{record.levelname.lower():<9}] {record.getMessage():<30}{said}".rstrip()
        )
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def _shown(value: object) -> str:
    """A value as one word: text that is more is quoted, and breaks no line."""
    is_word = isinstance(value, str) and value.isprintable() and value and " " not in value
    return str(value) if is_word else repr(value)


class _Lines(logging.Handler):
    """Writes to standard error as it is at that time. What it does not take (a full disk, a reader
    who left) is dropped: no call fails for its log."""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError, ValueError):
            print(self.format(record), file=sys.stderr, flush=True)
