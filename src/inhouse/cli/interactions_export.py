"""``inhouse interactions export``: recorded calls as JSON Lines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Moment = Annotated[str | None, typer.Option(help="ISO 8601; UTC where it names no zone.")]
_TELL_EVERY = 500


def export(
    out: Annotated[Path, typer.Option(help="File to write; - for standard output.")] = Path("-"),
    since: Moment = None,
    until: Moment = None,
    where: Annotated[
        list[str] | None,
        typer.Option(
            help="FIELD=VALUE, all must hold: task, status, arm, reference, hosting or tags.NAME."
        ),
    ] = None,
) -> None:
    """Recorded calls with what was said about them, a JSON object a line, oldest first.

    The file appears whole or not at all.
    """
    from inhouse.cli.context import open_context
    from inhouse.cli.output import STANDARD, counting, written
    from inhouse.cli.times import parse_time
    from inhouse.core.hashing import canonical_json
    from inhouse.feedback.export import Selection, interaction_lines

    chosen = Selection(
        since=None if since is None else parse_time(since),
        until=None if until is None else parse_time(until),
        where=dict(_condition(text) for text in where or ()),
    )
    context = open_context()
    count = 0
    with context.app.database.read() as unit, written(out) as file, counting("calls") as told:
        for count, line in enumerate(interaction_lines(unit, chosen), 1):
            file.write(canonical_json(line) + b"\n")
            if count % _TELL_EVERY == 0:
                told(count)
    typer.echo(f"{count} calls", err=out == STANDARD)


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r}: write FIELD=VALUE, such as status=failed")
    return name, value
