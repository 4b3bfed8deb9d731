"""``inhouse versions``: the own models that exist."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from inhouse.cli.lineage import of_version

if TYPE_CHECKING:
    from inhouse.registry.versions import Version

app = typer.Typer(name="versions", help="Model versions.", no_args_is_help=True)
app.command("lineage")(of_version)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with the version.")]


@app.command("list")
def list_all(task: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Versions, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.registry.versions import list_versions

    context = open_context()
    with context.app.database.read() as unit:
        found = list_versions(unit, task)
    if as_json:
        context.print_json([{"reference": v.reference, **_plain(v)} for v in found])
        return
    if not found:
        typer.echo("no versions yet: inhouse train start TASK")
    for version in found:
        typer.echo(
            f"{version.reference:<20} {version.status:<10} {version.recipe:<16} "
            f"{version.created_at:%Y-%m-%d %H:%M}  {version.artifact}/{version.store_version}"
        )


@app.command()
def show(reference: str, as_json: AsJson = False) -> None:
    """One version: `TASK@N`."""
    from inhouse.cli.context import open_context

    context = open_context()
    version = _find(reference)
    if as_json:
        context.print_json({"reference": version.reference, **_plain(version)})
        return
    for name, value in _plain(version).items():
        typer.echo(f"{name:<16} {value}")


@app.command()
def archive(reference: str, reason: Why = "") -> None:
    """Put a version away for good. One that stands on a route is refused."""
    from inhouse.cli.context import open_context
    from inhouse.registry import retire

    context = open_context()
    found = _find(reference)
    with context.app.database.write() as unit:
        moved = retire.archive(
            unit,
            context.app.catalog.all(),
            found.task,
            found.number,
            by=context.actor,
            why=reason,
            at=context.app.clock.now(),
        )
    typer.echo(f"{moved.reference} is {moved.status}")


@app.command()
def restore(reference: str, reason: Why = "") -> None:
    """Make a rejected version a candidate again."""
    from inhouse.cli.context import open_context
    from inhouse.registry import retire

    context = open_context()
    found = _find(reference)
    at = context.app.clock.now()
    with context.app.database.write() as unit:
        moved = retire.restore(unit, found.task, found.number, by=context.actor, why=reason, at=at)
    typer.echo(f"{moved.reference} is {moved.status}")


def _find(reference: str) -> Version:
    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid
    from inhouse.core.references import ReferenceKind, parse_reference
    from inhouse.registry.versions import get

    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        raise Invalid(f"{reference} is no model version", hint="write TASK@N")
    with open_context().app.database.read() as unit:
        return get(unit, parsed.name, parsed.number)


def _plain(version: Version) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(version)
