"""States of the whole server that stand above every page: cause, effect, remedy."""

from __future__ import annotations

from dataclasses import dataclass

from inhouse.bootstrap import App
from inhouse.core.errors import InhouseError
from inhouse.dashboard.figures import sentence
from inhouse.reload import Loaded


@dataclass(frozen=True, slots=True)
class Banner:
    """``level`` is info, warn or bad; ``text`` says effect and remedy; ``path`` is where to go."""

    level: str
    title: str
    text: str
    path: str = ""
    link: str = ""


def banners(app: App, settings: Loaded) -> list[Banner]:
    """What is wrong now, worst first."""
    found = [_recording(app), _routes(app), _settings(settings), _restart(settings)]
    return [banner for banner in found if banner is not None]


def _recording(app: App) -> Banner | None:
    try:
        app.recorder.admit()
    except InhouseError as error:
        return Banner("bad", f"Calls are refused: {error.message}.", sentence(error.hint))
    return None


def _routes(app: App) -> Banner | None:
    if not app.routes.mirror.stale:
        return None
    text = "Calls go on by the last known routes; what you see here may be old. Is it running?"
    return Banner("bad", "The database does not answer.", text)


def _settings(state: Loaded) -> Banner | None:
    if not state.error:
        return None
    text = f"{state.error}. The settings before the change go on serving."
    return Banner("bad", "inhouse.toml holds an error.", text, "/settings", "Open settings")


def _restart(state: Loaded) -> Banner | None:
    if not state.needs_restart:
        return None
    tables = ", ".join(f"[{name}]" for name in state.needs_restart)
    text = f"{tables} is read at the start only. Restart `inhouse serve` when it suits."
    return Banner("warn", "A change waits for a restart.", text, "/settings", "Open settings")
