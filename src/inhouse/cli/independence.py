"""``inhouse independence``: how far the tasks can live without upstreams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.monitoring.report import IndependenceReport, TaskLine


Moment = Annotated[
    str | None, typer.Option(help="Bound of another window: ISO 8601, UTC without a zone.")
]


def independence(
    days: Annotated[int, typer.Option(min=1, max=3650, help="Days that count, up to now.")] = 7,
    since: Moment = None,
    until: Moment = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """The independence score (0 to 100), its parts, and the step that would raise it most."""
    from datetime import timedelta

    from inhouse.cli.context import open_context
    from inhouse.cli.times import parse_time
    from inhouse.monitoring.queries import Window
    from inhouse.monitoring.report import independence_in

    context = open_context()
    end = parse_time(until) if until else context.app.clock.now()
    start = parse_time(since) if since else end - timedelta(days=days)
    with context.app.database.read() as unit:
        report = independence_in(unit, Window(since=start, until=end))
    if as_json:
        context.print_json(report)
        return
    _print_score(report)
    for line in report.tasks:
        typer.echo(_task(line))
    if report.steps:
        step = report.steps[0]
        typer.echo(f"next: {step.words} (+{step.points:g} points)")


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
