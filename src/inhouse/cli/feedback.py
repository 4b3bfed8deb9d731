"""``inhouse feedback``: saying what was right, how good it was, or what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(name="feedback", help="Statements about recorded calls.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Author = Annotated[str | None, typer.Option(help="Who says so; by default your account.")]
_BAD_SHOWN = 20


@app.command()
def add(
    interaction: Annotated[str, typer.Argument(help="Id of the interaction.")],
    value: Annotated[str, typer.Option(help="A label or number, JSON, or the text of a comment.")],
    kind: Annotated[
        str, typer.Option(help="correction, rating, outcome or comment.")
    ] = "correction",
    author: Author = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeats with the same key are stored once.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store one statement. Saying the same again changes nothing."""
    from inhouse.cli.context import open_context
    from inhouse.feedback.submit import submit

    context = open_context()
    with context.app.database.write() as unit:
        stored = submit(
            unit,
            interaction_id=interaction,
            kind=kind,
            value=value if kind == "comment" else _read(value),
            author=author or context.actor,
            idempotency_key=idempotency_key,
            at=context.app.clock.now(),
            catalog=context.app.catalog,
            redactor=context.app.content.redactor,
        )
    if as_json:
        context.print_json(stored)
        return
    typer.echo(f"{stored.id}  {stored.kind} of {stored.interaction_id}: {stored.value}")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Store the statements of a JSON Lines file: {interaction_id, kind, value, author?} a line.

    Lines that do not fit are named and left out. Importing a file twice changes nothing.
    """
    from dataclasses import asdict

    from inhouse.cli.context import open_context
    from inhouse.feedback.ingest import import_rows

    context = open_context()
    with file.open("rb") as lines:
        report = import_rows(
            context.app.database,
            lines,
            catalog=context.app.catalog,
            clock=context.app.clock,
            author=author or context.actor,
            redactor=context.app.content.redactor,
        )
    if as_json:
        context.print_json(asdict(report))
        return
    typer.echo(
        f"read {report.read}, added {report.added}, repeated {report.repeated}, "
        f"bad {len(report.bad)}"
    )
    for line, reason in report.bad[:_BAD_SHOWN]:
        typer.echo(f"line {line}: {reason}", err=True)
    if len(report.bad) > _BAD_SHOWN:
        typer.echo(f"and {len(report.bad) - _BAD_SHOWN} more; --json names all", err=True)


def _read(value: str) -> Any:
    """JSON where it is JSON, else the text itself: ``positive``, ``0.5``, ``{"label": "x"}``."""
    import msgspec

    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
