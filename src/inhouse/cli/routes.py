"""``inhouse routes``: who answers, and moving it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inhouse.cli.routes_who import who

if TYPE_CHECKING:
    from inhouse.registry.routes import Route

app = typer.Typer(name="routes", help="Routes: who answers a task.", no_args_is_help=True)
app.command()(who)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with the revision.")]


@app.command()
def show(task: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """The route of one task, or of all."""
    from inhouse.cli.context import open_context
    from inhouse.registry import routes

    context = open_context()
    catalog = context.app.catalog
    specs = [catalog.get(task)] if task else catalog.all()
    with context.app.database.read() as unit:
        known = [(routes.current(unit, s.name), s) for s in specs]
    found = [
        routes.with_chain(route or routes.implicit(s.name, s.chain), s.chain) for route, s in known
    ]
    if as_json:
        context.print_json([_plain(route) for route in found])
        return
    for route in found:
        typer.echo(_line(route))


@app.command("set")
def set_route(
    task: Annotated[str | None, typer.Argument()] = None,
    to: Annotated[str | None, typer.Option("--to", help="Candidate, such as sentiment@1.")] = None,
    weight: Annotated[float, typer.Option(min=0, max=100, help="Percent for the candidate.")] = 0,
    every: Annotated[
        float | None, typer.Option("--all", min=0, max=0, help="0: all tasks to their incumbents.")
    ] = None,
    reason: Why = "",
    as_json: AsJson = False,
) -> None:
    """Give a candidate a share of a task's calls. A running server follows within a second."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid
    from inhouse.registry import move

    context = open_context()
    if every is not None:
        _stop_all(reason, as_json=as_json)
        return
    if task is None:
        raise Invalid("name a task, or --all 0")
    context.app.backends.check(to)
    with context.app.database.write() as unit:
        route = move.set_weight(
            unit,
            context.app.catalog.get(task),
            candidate=to,
            percent=weight,
            actor=context.actor,
            reason=reason,
            at=context.app.clock.now(),
        )
    _print(route, as_json=as_json)


@app.command()
def pin(
    task: str,
    to: Annotated[str | None, typer.Option("--to", help="Reference; left out: lift it.")] = None,
    reason: Why = "",
    as_json: AsJson = False,
) -> None:
    """Send every call of a task to one reference, or lift that."""
    from inhouse.cli.context import open_context
    from inhouse.registry import move

    context = open_context()
    context.app.backends.check(to)
    with context.app.database.write() as unit:
        route = move.pin(
            unit,
            context.app.catalog.get(task),
            to,
            actor=context.actor,
            reason=reason,
            at=context.app.clock.now(),
        )
    _print(route, as_json=as_json)


@app.command()
def rollback(task: str, reason: Why = "", as_json: AsJson = False) -> None:
    """Send everything to the incumbent, at once."""
    from inhouse.cli.context import open_context
    from inhouse.registry import move

    context = open_context()
    with context.app.database.write() as unit:
        route = move.rollback(
            unit,
            context.app.catalog.get(task),
            actor=context.actor,
            reason=reason,
            at=context.app.clock.now(),
        )
    _print(route, as_json=as_json)


@app.command()
def history(task: str, as_json: AsJson = False) -> None:
    """Revisions of a task's route, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.registry import routes

    context = open_context()
    with context.app.database.read() as unit:
        found = routes.history(unit, context.app.catalog.get(task).name)
    if as_json:
        context.print_json([_plain(route) for route in found])
        return
    for route in found:
        typer.echo(f"{_line(route)}  {route.actor}: {route.reason or '-'}")


def _stop_all(reason: str, *, as_json: bool) -> None:
    from inhouse.cli.context import open_context
    from inhouse.rollout.halt import halt

    context = open_context()
    specs, now = context.app.catalog.all(), context.app.clock.now()
    with context.app.database.write() as unit:
        moved = {
            route.task: route
            for route in halt(unit, specs, actor=context.actor, reason=reason, at=now)
        }
    if as_json:
        context.print_json([_plain(route) for route in moved.values()])
        return
    for spec in specs:
        route = moved.get(spec.name)
        typer.echo(_line(route) if route else f"{spec.name}: answered by its incumbent already")


def _print(route: Route, *, as_json: bool) -> None:
    from inhouse.cli.context import open_context

    if as_json:
        open_context().print_json(_plain(route))
    else:
        typer.echo(_line(route))


def _plain(route: Route) -> dict[str, Any]:
    return {**asdict(route), "weight_percent": route.weight_bp / 100}


def _line(route: Route) -> str:
    share = f"{route.weight_bp / 100:g} % {route.candidate}, rest " if route.weight_bp else ""
    pinned = f"pinned to {route.pin}; " if route.pin else ""
    return f"{route.task:<16} r{route.revision:<4} {pinned}{share}{route.incumbent or 'nobody'}"
