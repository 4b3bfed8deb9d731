"""Log lines: an event and its values, through the standard library's ``logging``.

Whoever runs the process says where they go: ``cli.logs`` for ours, ``logging`` for a program that
holds Inhouse. A record has the event as its message and the values as ``values``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping


class Log:
    """Writes under a name."""

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def info(self, event: str, /, **values: object) -> None:
        self._write(logging.INFO, event, values)

    def warning(self, event: str, /, **values: object) -> None:
        self._write(logging.WARNING, event, values)

    def error(self, event: str, /, **values: object) -> None:
        self._write(logging.ERROR, event, values)

    def unforeseen(self, event: str, error: BaseException, /, **values: object) -> None:
        """An error's line, followed by the traceback."""
        self._write(logging.ERROR, event, values, error)

    def _write(
        self,
        level: int,
        event: str,
        values: Mapping[str, object],
        error: BaseException | None = None,
    ) -> None:
        self._logger.log(level, event, exc_info=error, extra={"values": values})
