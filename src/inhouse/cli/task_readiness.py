"""``inhouse task readiness``: can an own model take a task over?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.monitoring.readiness import Readiness


def readiness(
    task: str,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whether an own model can take a task over: a line for each thing that must hold, and what to
    do next. Circuits are known to a running server only (`GET /v1/tasks/TASK/readiness`)."""
    from inhouse.cli.context import open_context
    from inhouse.monitoring import readiness as judging
    from inhouse.rollout.declared import plan_of

    context = open_context()
    spec = context.app.catalog.get(task)
    plan = plan_of(context.app.settings.tasks[spec.name].rollout)
    with context.app.database.read() as unit:
        found = judging.readiness(unit, spec, plan, clock=context.app.clock)
    if as_json:
        context.print_json(found)
        return
    _print(found)


def _print(found: Readiness) -> None:
    who = found.reference or "no own model"
    typer.echo(f"{found.task}: {found.state} ({who}, answers {found.answers_percent:g} % now)")
    for line in found.lines:
        typer.echo(f"  {line.name:<10} {line.state:<8} {line.words}")
        if line.next:
            typer.echo(f"  {'':<10} {'':<8} next: {line.next}")
