"""``inhouse db``: the schema of the database, and everything that it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LEFT_OUT = {
    "meta": "the salt of this installation's pseudonyms",
    "api_key": "hashes of keys",
    "page_session": "sessions of pages",
    "idempotent_call": "answers kept for repeated requests, until they expire",
}
"""Tables that no export holds, and what is in them."""

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


@app.command()
def export(
    folder: Annotated[Path, typer.Argument(help="Folder to make; it must not exist, or be empty.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write everything that was recorded, said, imported, frozen, trained, evaluated and decided.

    A JSON Lines file for each table, the declared tasks, and a manifest with counts and SHA-256.
    It can run beside a server and shows one moment. The folder appears whole or not at all.
    """
    from inhouse import __version__
    from inhouse.cli.context import open_context
    from inhouse.cli.output import counting
    from inhouse.db.export import export_tables
    from inhouse.migrations.schema import metadata

    context = open_context()
    tables = {one.name: one for one in metadata().sorted_tables if one.name not in LEFT_OUT}
    with counting("rows") as told:
        manifest = export_tables(
            context.app.database,
            tables,
            folder.resolve(),
            beside={"task": context.app.catalog.all()},
            about={
                "inhouse": __version__,
                "created_at": context.app.clock.now(),
                "left_out": LEFT_OUT,
            },
            progress=told,
        )
    if as_json:
        context.print_json(manifest)
        return
    for name, one in manifest["files"].items():
        typer.echo(f"{name:<32} {one['rows']:>9} rows  {one['bytes']:>12} bytes")
    typer.echo(f"{folder}: whole; manifest.json names every file with its SHA-256")
