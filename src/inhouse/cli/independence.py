"""``inhouse independence``: how far the tasks can live without upstreams."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.monitoring.report import IndependenceReport, TaskLine
    from inhouse.monitoring.savings import Savings

app = typer.Typer(name="independence", help="How far the tasks can live without upstreams.")

Moment = Annotated[
    str | None, typer.Option(help="Bound of another window: ISO 8601, UTC without a zone.")
]


@app.callback(invoke_without_command=True)
def independence(
    called: typer.Context,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days that count, up to now.")] = 7,
    since: Moment = None,
    until: Moment = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The independence score (0 to 100), its parts, and the step that would raise it most."""
    from dataclasses import asdict
    from datetime import timedelta

    from inhouse.cli.context import open_context
    from inhouse.cli.times import parse_time
    from inhouse.client.overview import Savings as SavingsModel
    from inhouse.interactions.hours import shifted
    from inhouse.monitoring.queries import Window
    from inhouse.monitoring.report import independence_in
    from inhouse.monitoring.savings import savings

    if called.invoked_subcommand is not None:
        return
    context = open_context()
    end = parse_time(until) if until else context.app.clock.now()
    start = parse_time(since) if since else shifted(end, -timedelta(days=days))
    with context.app.database.read() as unit:
        window = Window(since=start, until=end)
        report = independence_in(unit, window)
        settings = context.app.settings
        saved = savings(unit, window, context.app.catalog.all(), settings.upstreams)
    if as_json:
        plain = SavingsModel.model_validate(saved).model_dump(mode="json")
        context.print_json({**asdict(report), "savings": plain})
        return
    _print_score(report)
    for line in report.tasks:
        typer.echo(_task(line))
    _print_savings(saved)
    if report.steps:
        step = report.steps[0]
        typer.echo(f"next: {step.words} (+{step.points:g} points)")


@app.command()
def report(
    file_format: Annotated[str, typer.Option("--format", help="html, md or json.")] = "html",
    out: Annotated[Path | None, typer.Option(help="File to write; - is standard output.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days that count, up to now.")] = 7,
) -> None:
    """The report to pass on: one HTML file, Markdown or JSON. Without --out, HTML is written to
    independence.html and the others to standard output."""
    from inhouse.cli.context import open_context
    from inhouse.cli.output import STANDARD, written
    from inhouse.client.independence import IndependenceDocument
    from inhouse.core.errors import Invalid
    from inhouse.monitoring.document import document
    from inhouse.monitoring.render import as_html, as_markdown

    if file_format not in ("html", "md", "json"):
        raise Invalid(f"{file_format!r} is no format", code="format", hint="write html, md or json")
    context = open_context()
    wired = context.app
    with wired.database.read() as unit:
        found = document(
            unit, wired.catalog.all(), wired.settings.upstreams, now=wired.clock.now(), days=days
        )
    match file_format:
        case "html":
            text = as_html(found)
        case "md":
            text = as_markdown(found)
        case _:
            text = IndependenceDocument.model_validate(found).model_dump_json(indent=2) + "\n"
    path = out or (Path("independence.html") if file_format == "html" else STANDARD)
    with written(path) as file:
        file.write(text.encode())
    if path != STANDARD:
        typer.echo(f"{path}: {len(text.encode()):,} bytes")


def _print_savings(saved: Savings) -> None:
    if not saved.tasks:
        return
    total = "not known" if saved.saved is None else f"{saved.saved:.6g}"
    typer.echo(f"saved by own models, against the price of their upstreams: {total}")
    for one in saved.tasks:
        against = f"against {one.upstream}" if one.upstream else "no upstream"
        amount = "not known" if one.saved is None else f"{one.saved:.6g}"
        typer.echo(f"  {one.task:<16} {one.calls:>7} calls  {amount}  {against} ({one.basis})")


def _print_score(report: IndependenceReport) -> None:
    window = f"{report.since:%Y-%m-%d %H:%M} to {report.until:%Y-%m-%d %H:%M} UTC"
    parts = report.parts
    if parts is None:
        typer.echo(f"independence: unknown; no call of a task was answered from {window}")
        return
    typer.echo(f"independence {parts.score:.1f} of 100, from {window}")
    typer.echo(
        f"  deployment {parts.deployment_points:5.1f} of 40: "
        f"own models answer {parts.deployed_percent:.0f} % of a task's calls on average"
    )
    typer.echo(
        f"  dependence {parts.dependence_points:5.1f} of 40: of all calls, external APIs answer "
        f"{parts.external_share:.0%}, general models on own machines {parts.local_share:.0%}"
    )
    typer.echo(
        f"  parity     {parts.parity_points:5.1f} of 20: own models as good as the general one "
        f"for {parts.parity_share:.0%} of the tasks"
    )


def _task(line: TaskLine) -> str:
    text = (
        f"{line.task:<16} own {line.own:>7}  local {line.local:>7}  external {line.external:>7}"
        f"  unanswered {line.unanswered:>5}  {line.own_version or '-':<18}"
    )
    parity = line.parity
    if parity is None:
        return text + " never compared"
    word = "as good as" if parity.certified else f"{parity.verdict} against"
    about = f" ({parity.general_about})" if parity.general_about else ""
    return f"{text} {word} {parity.general}{about}"
