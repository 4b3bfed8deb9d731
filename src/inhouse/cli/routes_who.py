"""``inhouse routes who``: which version answers a unit at a moment, and why."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.monitoring.who import Who


def who(
    task: str,
    unit: Annotated[str, typer.Option(help="The unit as calls name it, or the id of a call.")],
    at: Annotated[str, typer.Option(help="ISO 8601, UTC without a zone; now if left out.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Who answers a task for a unit at a moment and why, and who did."""
    from inhouse.cli.context import open_context
    from inhouse.cli.times import parse_time
    from inhouse.monitoring.who import who as tell

    app = (context := open_context()).app
    spec = app.catalog.get(task)
    moment = parse_time(at) if at else app.clock.now()
    with app.database.read() as read:
        found = tell(read, spec, unit, moment, forced=app.settings.force)
    if as_json:
        context.print_json(asdict(found))
        return
    _print(found)


def _print(found: Who) -> None:
    route = found.route
    moved = f"since {route.created_at:%Y-%m-%d %H:%M:%S}" if route.created_at else "declared"
    typer.echo(f"{found.reference or 'nobody'} as {found.arm} at {found.at:%Y-%m-%d %H:%M:%S} UTC")
    typer.echo(f"revision   {route.revision}, {moved}, by {route.actor}: {route.reason or '-'}")
    typer.echo(f"unit       {found.unit}")
    typer.echo(f"because    {_reason(found)}")
    typer.echo(f"chain      {' -> '.join(found.chain) or '-'}")
    if found.forced:
        typer.echo(f"forced     the settings force the task to {found.forced} now")
    for one in found.recorded:
        rescued = ", rescued" if one.rescued else ""
        typer.echo(
            f"recorded   {one.created_at:%Y-%m-%d %H:%M:%S.%f}  {one.id}  {one.status}{rescued} by "
            f"{one.reference or 'nobody'} as {one.arm}, revision {one.route_revision}"
        )
    if not found.recorded:
        typer.echo(
            f"recorded   no call of this unit among the {found.looked_through:,} of the task "
            "before and after"
        )


def _reason(found: Who) -> str:
    route = found.route
    if route.pin:
        return f"the route is pinned to {route.pin}"
    if route.candidate is None:
        return "the route has no candidate"
    sign = "<" if found.u < found.weight else ">="
    return f"u = {found.u:.6f} {sign} weight {found.weight:g} of {route.candidate}"
