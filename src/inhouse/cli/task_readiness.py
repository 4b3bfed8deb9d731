"""``inhouse task readiness``: can an own model take a task over?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from inhouse.cli.running import Key, Url, open_client

if TYPE_CHECKING:
    from inhouse.client.breakers import Breaker
    from inhouse.monitoring.readiness import Readiness
    from inhouse.monitoring.readiness_lines import Unseen


def readiness(
    task: str,
    url: Url = None,
    key: Key = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Whether an own model can take a task over: a line for each thing that must hold, and what to
    do next. Circuit breakers are asked of the running server, where there is one."""
    from inhouse.cli.context import open_context
    from inhouse.monitoring import readiness as judging
    from inhouse.rollout.declared import plan_of

    context = open_context()
    spec = context.app.catalog.get(task)
    plan = plan_of(context.app.settings.tasks[spec.name].rollout)
    breakers = _breakers(url, key)
    with context.app.database.read() as unit:
        found = judging.readiness(unit, spec, plan, clock=context.app.clock, breakers=breakers)
    if as_json:
        context.print_json(found)
        return
    _print(found)


def _breakers(url: str | None, key: str | None) -> Sequence[Breaker] | Unseen:
    """Those of the running server, or why they are not known. A server that was named must answer;
    the project's own need not run."""
    from inhouse.client.breakers import list_breakers
    from inhouse.core.errors import Denied, InhouseError
    from inhouse.monitoring.readiness_lines import NO_SERVER, Unseen

    try:
        with open_client(url, key) as client:
            return list_breakers(client)
    except Denied as error:
        return Unseen(f"the running server does not say: {error.message}", error.hint)
    except InhouseError as error:
        if url is not None or error.code != "unreachable":
            raise
        return NO_SERVER


def _print(found: Readiness) -> None:
    who = found.reference or "no own model"
    typer.echo(f"{found.task}: {found.state} ({who}, answers {found.answers_percent:g} % now)")
    for line in found.lines:
        typer.echo(f"  {line.name:<10} {line.state:<8} {line.words}")
        if line.next:
            typer.echo(f"  {'':<10} {'':<8} next: {line.next}")
