"""``inhouse dataset``: labelled files in, frozen snapshots out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from inhouse.datasets.snapshot import SnapshotRecord

app = typer.Typer(name="dataset", help="Examples and their snapshots.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Task = Annotated[str, typer.Argument(help="Name of the task.")]
Named = Annotated[str, typer.Argument(help="Id, first characters of its hash, or latest.")]
Whose = Annotated[str | None, typer.Option(help="Whose latest, or only of this task.")]
Moment = Annotated[str | None, typer.Option(help="ISO 8601; UTC where it names no zone.")]
Share = Annotated[float | None, typer.Option(min=0.0, max=1.0, help="Share of the groups.")]
Format = Annotated[
    str | None,
    typer.Option("--format", help="csv, jsonl, chat, parquet, conll or docbin; else the file's."),
]
_BAD_SHOWN = 20
_NUMBERED_ROWS = ("parquet", "docbin")


@app.command("import")
def import_file(
    task: Task,
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with a header, JSON Lines, chat JSON Lines, CoNLL (each also .gz), "
            "Parquet or DocBin."
        ),
    ],
    column: Annotated[
        list[str] | None,
        typer.Option(
            help="ROLE=NAME of a column; roles: text, target, group, occurred_at, weight, subject. "
            "In CoNLL text and target are numbers, from 1."
        ),
    ] = None,
    file_format: Format = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="One bad row, and nothing is added.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Add labelled examples. Bad rows are named and left out; repeating an import adds nothing."""
    from dataclasses import asdict

    from inhouse.cli.context import open_context
    from inhouse.cli.output import counting
    from inhouse.datasets.ingest import import_file as bring_in

    context = open_context()
    spec = context.app.catalog.get(task)
    with counting("rows") as told:
        report = bring_in(
            context.app.database,
            spec,
            file,
            clock=context.app.clock,
            columns=dict(_pair(text) for text in column or ()),
            file_format=file_format,
            strict=strict,
            progress=told,
        )
    if as_json:
        context.print_json(asdict(report))
        return
    typer.echo(
        f"read {report.read}, added {report.added}, duplicate {report.duplicate}, "
        f"bad {len(report.bad)}"
    )
    if report.unread:
        typer.echo(f"columns that mean nothing here: {_figures(report.unread)}")
    unit = "row" if report.format in _NUMBERED_ROWS else "line"
    for line, reason in report.bad[:_BAD_SHOWN]:
        typer.echo(f"{unit} {line}: {reason}", err=True)
    if len(report.bad) > _BAD_SHOWN:
        typer.echo(f"and {len(report.bad) - _BAD_SHOWN} more; --json names all", err=True)


@app.command()
def build(
    task: Task,
    max_test: Annotated[
        int | None, typer.Option(min=0, help="Most examples in the test split.")
    ] = None,
    test_fraction: Share = None,
    valid_fraction: Share = None,
    newest: Annotated[bool, typer.Option("--newest", help="Test on the newest groups.")] = False,
    test_after: Moment = None,
    since: Moment = None,
    until: Moment = None,
    near: Annotated[
        str,
        typer.Option(
            help="How near repeats are kept in one split: text (by words), embedding (by words and "
            "meaning; wants the base minilm-l6 in the ModelStore) or off."
        ),
    ] = "text",
    near_threshold: Annotated[
        float | None,
        typer.Option(help="How alike near texts are: of words 0.6, of meaning 0.9 by default."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Freeze what there is to learn from. The same content is the same snapshot."""
    from inhouse.cli.context import open_context
    from inhouse.datasets import snapshot
    from inhouse.datasets.arrange import BuildSettings
    from inhouse.datasets.near import near_settings
    from inhouse.datasets.split import SplitSettings

    shares = {"test": test_fraction, "valid": valid_fraction}
    settings = BuildSettings(
        split=SplitSettings(
            **{name: share for name, share in shares.items() if share is not None},
            max_test=max_test,
            newest=newest,
            test_after=_moment(test_after),
        ),
        since=_moment(since),
        until=_moment(until),
        near=near_settings(near, near_threshold),
    )
    context = open_context()
    built = snapshot.build_unlocked(
        context.app.database,
        context.app.catalog.get(task),
        settings=settings,
        at=context.app.clock.now(),
        open_encoder=lambda: context.app.open_encoder(),
    )
    _print(built, as_json=as_json)


@app.command("list")
def list_all(task: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Snapshots, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.datasets.snapshot import list_snapshots

    context = open_context()
    with context.app.database.read() as unit:
        found = list_snapshots(unit, task)
    if as_json:
        context.print_json(found)
        return
    if not found:
        typer.echo("no snapshots yet: inhouse dataset build TASK")
    for record in found:
        typer.echo(f"{record.short_hash}  {record.task:<16} {_sizes(record)}  {record.id}")


@app.command()
def show(
    snapshot: Named,
    task: Whose = None,
    as_json: AsJson = False,
) -> None:
    """One snapshot: sizes, labels, and what was left out why."""
    from inhouse.cli.context import open_context
    from inhouse.datasets.snapshot import get

    with open_context().app.database.read() as unit:
        found = get(unit, snapshot, task)
    _print(found, as_json=as_json)


@app.command()
def card(snapshot: Named, task: Whose = None, as_json: AsJson = False) -> None:
    """The data card of a snapshot, as Markdown: what it holds, whence, and what it cannot show."""
    from inhouse.cli.context import open_context
    from inhouse.datasets.card import make_card
    from inhouse.datasets.card_words import card_markdown
    from inhouse.datasets.snapshot import get

    context = open_context()
    with context.app.database.read() as unit:
        found = make_card(unit, get(unit, snapshot, task))
    if as_json:
        context.print_json(found)
    else:
        typer.echo(card_markdown(found), nl=False)


@app.command()
def diff(before: Named, after: Named, task: Whose = None, as_json: AsJson = False) -> None:
    """What changed from one snapshot to another; --json names every example."""
    from inhouse.cli.context import open_context
    from inhouse.cli.dataset_diff import SHOWN, print_diff
    from inhouse.datasets.diff import compare
    from inhouse.datasets.snapshot import get

    context = open_context()
    with context.app.database.read() as unit:
        old, new = get(unit, before, task), get(unit, after, task)
        found = compare(unit, old, new, limit=None if as_json else SHOWN)
    if as_json:
        context.print_json(found)
    else:
        print_diff(found)


@app.command()
def export(
    snapshot: Named,
    file_format: Annotated[
        str, typer.Option("--format", help="csv, jsonl, chat, parquet, conll or docbin.")
    ] = "jsonl",
    task: Whose = None,
    split: Annotated[
        str | None, typer.Option(help="Only train, valid or test; all of them by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, - for standard output; by default TASK-HASH.ENDING."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the examples of a snapshot to a file, which appears whole or not at all."""
    from dataclasses import asdict

    from inhouse.cli.context import open_context
    from inhouse.cli.output import STANDARD, counting, written
    from inhouse.datasets.export import write_snapshot
    from inhouse.datasets.formats.choose import ENDINGS, load
    from inhouse.datasets.snapshot import get

    context = open_context()
    load(file_format)
    with context.app.database.read() as unit:
        found = get(unit, snapshot, task)
        spec = context.app.catalog.get(found.task)
        path = out or Path(f"{found.task}-{found.short_hash}.{ENDINGS[file_format]}")
        with written(path) as file, counting("examples") as told:
            report = write_snapshot(
                unit, spec, found, file, file_format=file_format, split=split, progress=told
            )
    if path == STANDARD:
        typer.echo(f"written {report.written}, left out {_figures(report.left_out)}", err=True)
    elif as_json:
        context.print_json({"file": str(path), **asdict(report)})
    else:
        typer.echo(f"{path}: {report.written} examples, left out {_figures(report.left_out)}")


def _print(record: SnapshotRecord, *, as_json: bool) -> None:
    from inhouse.cli.context import open_context

    if as_json:
        open_context().print_json(record)
        return
    typer.echo(f"snapshot {record.short_hash} of {record.task}: {_sizes(record)}")
    typer.echo(f"id       {record.id}")
    for name in ("labels", "values"):
        for split, figures in record.counts.get(name, {}).items():
            typer.echo(f"{split:<8} {_figures(figures)}")
    typer.echo(f"left out {_figures(record.dropped)}")


def _sizes(record: SnapshotRecord) -> str:
    return ", ".join(f"{split} {record.counts[split]}" for split in ("train", "valid", "test"))


def _figures(figures: Any) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in (figures or {}).items()) or "nothing"


def _pair(text: str) -> tuple[str, str]:
    role, equals, name = text.partition("=")
    if not equals or not name:
        raise typer.BadParameter(f"{text!r}: write ROLE=NAME, such as text=headline")
    return role, name


def _moment(text: str | None) -> datetime | None:
    from inhouse.cli.times import parse_time

    return None if text is None else parse_time(text)
