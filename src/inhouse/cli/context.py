"""What every command shares: the project folder, the wired App, and how to print."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from inhouse.bootstrap import App
    from inhouse.store.store import ModelStore


@dataclass
class Context:
    """One invocation of the command line."""

    folder: Path

    @cached_property
    def console(self) -> Console:
        """Where tables and progress are drawn."""
        from rich.console import Console

        return Console(highlight=False, soft_wrap=True)

    @cached_property
    def app(self) -> App:
        """The wired product over the project folder; the database is brought up to date. Raises
        NotFound (``folder-not-found``) when there is no such folder."""
        from inhouse.bootstrap import bootstrap
        from inhouse.cli.logs import configure_logs
        from inhouse.core.errors import NotFound
        from inhouse.settings import load_settings

        if not self.folder.is_dir():
            raise NotFound(
                f"there is no folder {self.folder}",
                code="folder-not-found",
                hint=f"`inhouse init {self.folder}` makes a project",
            )
        configure_logs()
        return bootstrap(load_settings(self.folder))

    @property
    def store(self) -> ModelStore:
        return self.app.store

    @property
    def actor(self) -> str:
        """Who acts, for decisions that are kept: the account of the system."""
        import getpass

        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return "cli"

    def print_json(self, value: Any) -> None:
        """One JSON document on standard output, UTF-8."""
        import msgspec

        sys.stdout.write(msgspec.json.format(msgspec.json.encode(value), indent=2).decode() + "\n")


_context = Context(Path())


def open_context() -> Context:
    """The context of this invocation."""
    return _context


def set_folder(folder: Path) -> None:
    """Begin an invocation on a project folder (option ``--dir``)."""
    global _context
    _context = Context(folder)
