"""``inhouse interactions``: what was asked and answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

import typer

from inhouse.cli.interactions_export import export
from inhouse.cli.interactions_purge import erasures, purge
from inhouse.cli.lineage import of_interaction

app = typer.Typer(name="interactions", help="Recorded calls.", no_args_is_help=True)
app.command()(export)
app.command()(purge)
app.command()(erasures)
app.command("lineage")(of_interaction)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def search(
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    status: Annotated[
        str | None, typer.Option(help="answered, flagged, failed, cancelled.")
    ] = None,
    arm: Annotated[
        str | None, typer.Option(help="incumbent, candidate, pinned, forced, imported or shadow.")
    ] = None,
    reference: Annotated[str | None, typer.Option(help="What answered.")] = None,
    hosting: Annotated[
        str | None, typer.Option(help="own, local or external: where it runs.")
    ] = None,
    text: Annotated[
        str, typer.Option(help="In input or output; looks through the newest 10,000 calls.")
    ] = "",
    tag: Annotated[str, typer.Option(help="NAME=VALUE; as with --text.")] = "",
    since: Annotated[str, typer.Option(help="From this time on, ISO 8601.")] = "",
    until: Annotated[str, typer.Option(help="Before this time, ISO 8601.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    before: Annotated[str | None, typer.Option(help="Older than this interaction.")] = None,
    as_json: AsJson = False,
) -> None:
    """Recorded calls, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.cli.times import parse_time
    from inhouse.gateway.route import Arm
    from inhouse.inference.base import Hosting
    from inhouse.interactions.entry import Status
    from inhouse.interactions.filters import Facets, Span, read_tag
    from inhouse.interactions.outcomes import SHADOW
    from inhouse.interactions.search import find

    _one_of("--status", status, Status)
    _one_of("--arm", arm, (*Arm, "imported", SHADOW))
    _one_of("--hosting", hosting, Hosting)
    context = open_context()
    facets = Facets(task=task, status=status, arm=arm, reference=reference, hosting=hosting)
    span = Span(
        since=parse_time(since) if since else None, until=parse_time(until) if until else None
    )
    with context.app.database.read() as unit:
        found = find(
            unit, facets, span, text=text, tag=read_tag(tag), limit=limit, before_id=before
        )
    rows = found.items
    if as_json:
        context.print_json(rows)
        return
    for row in rows:
        answer = "" if row.output is None else next(iter(row.output.values()), "")
        typer.echo(
            f"{row.id}  {row.created_at:%Y-%m-%d %H:%M:%S}  {row.task or 'chat':<12} "
            f"{row.status:<9} {answer!s:<10.10} {row.latency_ms:7.1f} ms  {row.reference or '-'}"
        )
    if not rows:
        typer.echo("no such call is recorded", err=True)
    if found.reached is not None:
        typer.echo(f"older calls: --until {found.reached.isoformat()}", err=True)


def _one_of(option: str, value: str | None, there: Iterable[str]) -> None:
    from inhouse.core.errors import Invalid

    names = [*there]
    if value is not None and value not in names:
        raise Invalid(f"{option} is one of {', '.join(names)}", code="arguments")


@app.command()
def show(interaction_id: str, as_json: AsJson = False) -> None:
    """One call: input, output, route trace, feedback."""
    from inhouse.cli.context import open_context
    from inhouse.feedback.submit import list_for
    from inhouse.interactions.search import get

    context = open_context()
    with context.app.database.read() as unit:
        found, said = get(unit, interaction_id), list_for(unit, interaction_id)
    if as_json:
        context.print_json({"interaction": found, "feedback": said})
        return
    for name in ("id", "created_at", "task", "status", "reference", "arm", "latency_ms", "cost"):
        typer.echo(f"{name:<12} {getattr(found, name)}")
    typer.echo(f"input        {_plain(found.input)}")
    typer.echo(f"output       {_plain(found.output)}")
    for one in found.attempts or ():
        how = "answered" if one["ok"] else one["code"]
        typer.echo(f"attempt      {one['reference']}: {how}, {one['latency_ms']:.1f} ms")
    for said_of in said:
        value = _plain(said_of.value)
        typer.echo(f"feedback     {said_of.kind}: {value} ({said_of.author or 'unknown'})")


def _plain(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


@app.command()
def stats(
    task: str,
    since: Annotated[str, typer.Option(help="From this time on, ISO 8601.")] = "1970-01-01",
    until: Annotated[str, typer.Option(help="Before this time; now when left out.")] = "",
    as_json: AsJson = False,
) -> None:
    """Calls of a task in a window: by whom answered, how fast, at what cost."""
    from inhouse.cli.context import open_context
    from inhouse.cli.figures import call_stats
    from inhouse.cli.times import parse_time

    context = open_context()
    end = parse_time(until) if until else context.app.clock.now()
    with context.app.database.read() as unit:
        found = call_stats(unit, task, since=parse_time(since), until=end)
    if as_json:
        context.print_json(found)
        return
    typer.echo(
        f"{found['calls']} calls, {found['unanswered']} unanswered, own models {found['own']}, "
        f"local general {found['local']}, external {found['external']}, cost {found['cost']:g}"
    )
    for row in found["references"]:
        typer.echo(
            f"{row['reference']:<32} {row['calls']:>6} calls  p50 {row['p50_ms']:8.1f} ms  "
            f"p95 {row['p95_ms']:8.1f} ms  cost {row['cost']:g}"
        )
