"""What changed between two snapshots, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from inhouse.datasets.diff import Change, Diff
    from inhouse.datasets.sides import Side

SHOWN = 20
"""Changes that are printed."""
_MARKS = {"added": "+", "removed": "-"}


def print_diff(found: Diff) -> None:
    """Counts, labels and moves, and the first 20 changes: ``+`` came, ``-`` went, ``~`` is not as
    it was."""
    before, after = found.before, found.after
    typer.echo(f"{before.task}: {before.short_hash} -> {after.short_hash}")
    counts = ", ".join(f"{what} {n}" for what, n in found.counts.items() if n)
    typer.echo(f"same {found.same}" + (f", {counts}" if counts else ""))
    for label in found.labels:
        typer.echo(f"  {label.label}: +{label.added} -{label.removed}")
    for move in found.moves:
        typer.echo(f"  {move.before} -> {move.after}: {move.examples}")
    for name, (old, new) in found.settings.items():
        typer.echo(f"  built with {name} {old} -> {new}")
    for change in found.changes[:SHOWN]:
        typer.echo(_line(change))
    if found.changed > SHOWN:
        typer.echo(f"and {found.changed - SHOWN} more; --json names all", err=True)


def _line(change: Change) -> str:
    old, new = change.before, change.after
    if old is None or new is None:
        side = old or new
        shown = _fields(side, ("split", "target"))
        return f"{_MARKS[change.what[0]]} {', '.join(shown)}: {_brief(side)}"
    shown = [
        f"{before} -> {after}"
        for before, after in zip(_fields(old, change.what), _fields(new, change.what), strict=True)
    ]
    return f"~ {', '.join(shown) or 'spelling'}: {_brief(new)}"


def _fields(side: Side | None, names: tuple[str, ...]) -> list[str]:
    return [_shown(getattr(side, name)) for name in names if name != "input"]


def _shown(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    if len(value) == 1:
        return str(next(iter(value.values())))
    return str(value)


def _brief(side: Side | None) -> str:
    text = side.input if side is not None else ""
    if not isinstance(text, str):
        return "(erased)"
    plain = " ".join(text.split())
    return plain if len(plain) <= 80 else plain[:79] + "\u2026"
