"""``inhouse feedback``: saying what was right, how good it was, or what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.cli.context import Context
    from inhouse.feedback.ingest import FeedbackImport
    from inhouse.feedback.logs import LogImport
    from inhouse.tasks.spec import TaskSpec

app = typer.Typer(name="feedback", help="Statements about recorded calls.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Author = Annotated[str | None, typer.Option(help="Who says so; by default your account.")]
_BAD_SHOWN = 20


@app.command()
def add(
    interaction: Annotated[str, typer.Argument(help="Id of the interaction.")],
    value: Annotated[
        str, typer.Option(help="The right output: a label, a number, a text, or JSON.")
    ],
    kind: Annotated[
        str, typer.Option(help="correction, rating, outcome or comment.")
    ] = "correction",
    author: Author = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Repeats with the same key are stored once.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Store one statement. Saying the same again changes nothing.

    The value of a correction is the right output: positive for a choice, 0.5 for a score, the text
    itself for a text. Spans are {"spans": [{"text": "Ada", "label": "PERSON"}]}, with start and end
    where the words stand more than once, and {"spans": []} where there are none; of json it is the
    whole object. What reads as JSON is taken as JSON: quote a text that does, '"42"'.
    """
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


@app.command()
def audit(
    task: str,
    most: Annotated[
        int, typer.Option("--list", min=1, max=100, help="Show at most so many drawn calls.")
    ] = 10,
    interaction: Annotated[
        str | None, typer.Option("--id", help="Id of the drawn call that the label is about.")
    ] = None,
    value: Annotated[
        str | None, typer.Option(help="The right output: a label, a number, a text, or JSON.")
    ] = None,
    correct: Annotated[
        bool | None, typer.Option("--correct/--wrong", help="Whether its answer is correct.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Calls of a rollout or an experiment that were drawn, for somebody to say what is right.

    Shown are input and output, newest call first, and nothing that tells which model answered. With
    --id, and --value or --correct or --wrong, one of them gets its label; the first one counts.
    While a candidate shadows, it is --value that tells what is right.
    """
    from dataclasses import asdict

    from inhouse.cli.context import open_context
    from inhouse.rollout import audit as audits

    if (interaction is None) != (value is None and correct is None):
        raise typer.BadParameter("--id goes with --value, --correct or --wrong")
    if value is not None and correct is not None:
        raise typer.BadParameter("say --value, or --correct or --wrong")
    context = open_context()
    spec = context.app.catalog.get(task)
    if interaction is not None:
        said = {"output": _read(value)} if value is not None else {"correct": correct}
        _label(context, spec, interaction, said, as_json=as_json)
        return
    with context.app.database.read() as unit:
        found = audits.next_drawn(unit, spec, audits.open_audit(unit, spec.name), most)
    if as_json:
        context.print_json([asdict(one) for one in found])
        return
    for one in found:
        typer.echo(f"{one.interaction_id}\n  asked     {one.input}\n  answered  {one.output}")
    if not found:
        typer.echo("nothing waits for a label")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)],
    log: Annotated[
        str | None,
        typer.Option(
            metavar="TASK", help="The file is another system's feedback log; take what is of TASK."
        ),
    ] = None,
    event: Annotated[
        list[str] | None,
        typer.Option(help="Event of the log that is of the task; by default any with its name."),
    ] = None,
    author: Author = None,
    as_json: AsJson = False,
) -> None:
    """Store the statements of a JSON Lines file: {interaction_id, kind, value, author?} a line.

    With --log the lines are {timestamp, event, details}: answers that another system logged. They
    become recorded calls that no figure counts; those that somebody corrected become examples.
    Lines that do not fit are named and left out. Importing a file twice changes nothing.
    """
    from dataclasses import asdict

    from inhouse.cli.context import open_context

    if event and log is None:
        raise typer.BadParameter("--event goes with --log")
    context = open_context()
    report: FeedbackImport | LogImport
    if log is None:
        report = _statements(context, file, author)
        told = (
            f"read {report.read}, added {report.added}, repeated {report.repeated}, "
            f"bad {len(report.bad)}"
        )
    else:
        report = _log(context, file, log, event or (), author)
        told = _about_log(report)
    if as_json:
        context.print_json(asdict(report))
        return
    typer.echo(told)
    for line, reason in report.bad[:_BAD_SHOWN]:
        typer.echo(f"line {line}: {reason}", err=True)
    if len(report.bad) > _BAD_SHOWN:
        typer.echo(f"and {len(report.bad) - _BAD_SHOWN} more; --json names all", err=True)


def _label(
    context: Context, spec: TaskSpec, interaction: str, said: dict[str, Any], *, as_json: bool
) -> None:
    from inhouse.rollout.audit import label

    with context.app.database.write() as unit:
        stored = label(
            unit,
            context.app.catalog,
            spec,
            interaction,
            said,
            author=context.actor,
            at=context.app.clock.now(),
            redactor=context.app.content.redactor,
        )
    if as_json:
        context.print_json(stored)
        return
    typer.echo(f"{stored.id}  {stored.kind} of {stored.interaction_id}: {stored.value}")


def _statements(context: Context, file: Path, author: str | None) -> FeedbackImport:
    from inhouse.cli.output import counting
    from inhouse.datasets.formats.choose import opened
    from inhouse.feedback.ingest import import_rows

    with opened(file) as lines, counting("lines") as told:
        return import_rows(
            context.app.database,
            lines,
            catalog=context.app.catalog,
            clock=context.app.clock,
            author=author or context.actor,
            redactor=context.app.content.redactor,
            progress=told,
        )


def _log(
    context: Context, file: Path, task: str, events: Sequence[str], author: str | None
) -> LogImport:
    from inhouse.cli.output import counting
    from inhouse.datasets.formats.choose import name_of, opened
    from inhouse.feedback.logs import import_log

    spec = context.app.catalog.get(task)
    with opened(file) as lines, counting("lines") as told:
        return import_log(
            context.app.database,
            spec,
            lines,
            source=name_of(file),
            catalog=context.app.catalog,
            content=context.app.content,
            events=events,
            author=author or context.actor,
            progress=told,
        )


def _about_log(report: LogImport) -> str:
    lines = [
        f"read {report.read}, calls {report.calls}, of them corrected {report.corrections}, "
        f"repeated {report.repeated}, bad {len(report.bad)}"
    ]
    if report.cut:
        lines.append(f"{report.cut} corrections of texts that the log cut are kept as comments")
    lines += [f"other event {name}: {count}" for name, count in report.other.items()]
    return "\n".join(lines)


def _read(value: str) -> Any:
    """JSON where it is JSON, else the text itself: ``positive``, ``0.5``, ``{"label": "x"}``."""
    import msgspec

    from inhouse.core.errors import Invalid

    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return value
    except RecursionError:
        raise Invalid("the value is nested too deeply", code="feedback-value") from None
