"""``inhouse db``: the schema of the database."""

from __future__ import annotations

import typer

app = typer.Typer(name="db", help="The database.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """The database."""


@app.command()
def upgrade() -> None:
    """Bring the schema to the newest revision. `serve` and every command do it too."""
    from inhouse.cli.context import open_context

    context = open_context()
    typer.echo(f"{context.app.database.engine.url!r} is at the newest revision")
