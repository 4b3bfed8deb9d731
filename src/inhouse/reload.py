"""``inhouse.toml`` is followed while the server runs; one that is not valid changes nothing.

The file, and every prompt or schema file beside it, is looked at twice a second. A change that
stands still from one look to the next is read whole, checked whole and taken over at once: an
editor empties a file before it fills it. What is wrong with it is kept, with file and line, and the
old settings go on serving.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from prometheus_client import Counter, Gauge

from inhouse.bootstrap import App
from inhouse.core.errors import InhouseError, Invalid
from inhouse.core.log import Log
from inhouse.settings import FILE_NAME, Settings, load_settings

EVERY_S: Final = 0.5
_FIXED: Final = ("server", "database", "store", "recording")
"""Tables that are read at the start only."""

RELOADS = Counter(
    "inhouse_settings_reloads_total", "Changes of inhouse.toml by what became of them.", ("result",)
)
INVALID = Gauge(
    "inhouse_settings_invalid", "1 while inhouse.toml holds an error and older settings serve."
)
_log = Log("inhouse.settings")
_Seen = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Loaded:
    """The settings in force. ``error`` says what is wrong with the file now, "" when nothing is;
    ``needs_restart`` names the changed tables that only the next start reads."""

    at: datetime
    revision: int
    error: str = ""
    needs_restart: tuple[str, ...] = ()


class Reloading:
    """Follows the files of an App's settings in a thread of its own.

    ``load`` reads the settings of a folder; ``state`` is safe to read from any thread.
    """

    def __init__(self, app: App, *, load: Callable[[Path], Settings] = load_settings) -> None:
        self._app = app
        self._load = load
        self._started_with = self._declared = app.settings
        self._has_file = _file(app.settings.folder).exists()
        self._seen = self._look()
        self._wake = threading.Event()
        self._stopping = self._asked = False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._work, name="settings", daemon=True)
        self.state = Loaded(app.clock.now(), 1)

    @property
    def in_force(self) -> Settings:
        """The settings that serve: those of the file, but for tables that wait for a start."""
        fixed = {name: getattr(self._started_with, name) for name in _FIXED}
        return self._app.settings.model_copy(update=fixed)

    def start(self) -> None:
        """Start the thread. Once."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()

    def ask(self) -> None:
        """Have the file read soon, changed or not; safe in a signal handler."""
        self._asked = True

    def reload(self) -> Loaded:
        """Read the file now and take it over, or say what is wrong with it."""
        with self._lock:
            try:
                settings = self._read()
                self._app.configure(settings)
            except InhouseError as error:
                self._refuse(error.message)
            except Exception as error:  # noqa: BLE001 what follows the file outlives every error
                self._refuse(f"{FILE_NAME} cannot be read: {type(error).__name__}: {error}")
            else:
                self._accept(settings)
            return self.state

    def _read(self) -> Settings:
        """The settings of the file, whose own files are watched from now on."""
        folder = self._app.settings.folder
        self._seen = self._look()
        is_there = _file(folder).exists()
        if self._has_file and not is_there:
            raise Invalid(f"{_file(folder)} is gone", code="settings")
        self._declared = self._load(folder)
        self._has_file = is_there
        self._seen = {name: self._seen.get(name, found) for name, found in self._look().items()}
        return self._declared

    def _accept(self, settings: Settings) -> None:
        changed = tuple(
            name for name in _FIXED if getattr(settings, name) != getattr(self._started_with, name)
        )
        self.state = Loaded(self._app.clock.now(), self.state.revision + 1, "", changed)
        RELOADS.labels("accepted").inc()
        INVALID.set(0)
        self._app.settings_error = ""
        _log.info("settings reloaded", revision=self.state.revision, needs_restart=changed)

    def _refuse(self, message: str) -> None:
        before = self.state
        self.state = Loaded(before.at, before.revision, message, before.needs_restart)
        RELOADS.labels("refused").inc()
        INVALID.set(1)
        self._app.settings_error = message
        _log.error("settings refused; the old ones go on serving", reason=message)

    def _work(self) -> None:
        before = self._seen
        while not self._wake.wait(EVERY_S) or not self._stopping:
            now = self._look()
            if self._asked or (now != self._seen and now == before):
                self._asked = False
                self.reload()
            before = now

    def _look(self) -> _Seen:
        """Size and time of every file, by its name, that the last settings read are made of."""
        settings = self._declared
        declared = [
            name for task in settings.tasks.values() for name in (task.prompt, task.schema_)
        ]
        names = [FILE_NAME, *(name for name in declared if name and isinstance(name, str))]
        seen = {}
        for name in names:
            if "\n" in name:
                continue
            try:
                found = (settings.folder / name).stat()
            except (OSError, ValueError):
                seen[name] = -1, -1
            else:
                seen[name] = found.st_size, found.st_mtime_ns
        return seen


def _file(folder: Path) -> Path:
    return folder / FILE_NAME
