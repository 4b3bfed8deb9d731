"""How the story is told: one line a figure, each with the command that computes it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console


@dataclass(frozen=True, slots=True)
class Line:
    """A line that was told. ``figures`` maps a path into the command's JSON to the value told."""

    step: str
    text: str
    command: tuple[str, ...]
    figures: dict[str, Any]


class Teller:
    """Prints lines and keeps them in ``story.json``."""

    def __init__(self, console: Console, folder: Path, path: Path) -> None:
        self.console = console
        self._folder = folder
        self._path = path
        self._shown: tuple[str, ...] = ()
        self.lines: list[Line] = [
            Line(**{**line, "command": tuple(line["command"])}) for line in _stored(path)
        ]

    def heading(self, text: str) -> None:
        self.console.print(f"\n[bold]{text}[/bold]")

    def say(self, text: str) -> None:
        """A line without a figure."""
        self.console.print(f"  {text}")

    def tell(
        self,
        step: str,
        text: str,
        command: Sequence[str] = (),
        figures: Mapping[str, Any] | None = None,
    ) -> None:
        """A line with figures and the command that gives them: ``inhouse --dir ... COMMAND``."""
        line = Line(step, text, tuple(command), dict(figures or {}))
        self.lines.append(line)
        self._path.write_bytes(msgspec.json.encode([asdict(line) for line in self.lines]))
        self.show(line)

    def show(self, line: Line) -> None:
        """Print a line, and its command unless the line before had the same."""
        self.console.print(f"  {line.text}")
        if line.command and line.command != self._shown:
            self._shown = line.command
            self.console.print(f"    [dim]{self.full(line.command)}[/dim]")

    def full(self, command: Sequence[str]) -> str:
        """A command as one types it."""
        return shlex.join(["inhouse", "--dir", str(self._folder), *command])

    def forget(self, step: str) -> None:
        """Drop the lines of a step that is told again from its start."""
        self.lines = [line for line in self.lines if line.step != step]


def picked(document: Any, *paths: str) -> dict[str, Any]:
    """What stands at some paths, such as ``0.decisions.1.kind``, of a document as it is printed."""
    printed = msgspec.json.decode(msgspec.json.encode(document))
    found = {}
    for path in paths:
        value = printed
        for part in path.split("."):
            value = value[int(part)] if isinstance(value, list) else value[part]
        found[path] = value
    return found


def _stored(path: Path) -> list[dict[str, Any]]:
    return msgspec.json.decode(path.read_bytes()) if path.exists() else []
