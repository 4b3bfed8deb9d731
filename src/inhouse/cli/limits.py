"""``inhouse limits``: what may be used up, and what is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.gateway.limits.report import LimitLine


def limits(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Every limit of the server, of upstreams and of keys, with what was used up of it today (UTC),
    as it is recorded. What the last minute used up, a running server tells: GET /v1/limits."""
    from inhouse.cli.context import open_context
    from inhouse.gateway import keys
    from inhouse.gateway.limits.report import holders, recorded_lines
    from inhouse.interactions.spent import totals

    context = open_context()
    settings = context.app.settings
    upstreams = {name: upstream.limits for name, upstream in settings.upstreams.items()}
    with context.app.database.read() as unit:
        found = holders(settings.limits, upstreams, keys.list_keys(unit))
        rows = totals(unit, context.app.clock.now().date().isoformat())
    lines = recorded_lines(found, rows)
    if as_json:
        context.print_json(lines)
        return
    for line in lines:
        typer.echo(_line(line))
    if not lines:
        typer.echo("nothing is limited: see [limits] in inhouse.toml and `inhouse keys limit`")


def _line(line: LimitLine) -> str:
    from inhouse.gateway.limits.refusals import figure

    who = "server" if line.scope == "server" else f"{line.scope} {line.name}"
    used = "-" if line.used is None else figure(line.used)
    share = "" if line.ratio is None else f"{line.ratio:.0%}"
    text = f"{who:<24} {line.limit:<20} {used:>12} of {figure(line.most):<12} {share:>5}"
    return f"{text}  {line.on_limit}"
