"""``inhouse automation``: training and rollouts that begin by themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.automation.records import ProposalRecord
    from inhouse.automation.tell import Automation

app = typer.Typer(
    name="automation",
    help="Training and rollouts that begin by themselves.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
ProposalId = Annotated[str, typer.Argument(help="Id of the proposal.")]


@app.command()
def status(
    task: Annotated[str | None, typer.Argument(help="Only this task.")] = None,
    as_json: AsJson = False,
) -> None:
    """What is next for one task, or for all, and which proposals wait for a person."""
    from dataclasses import asdict

    from inhouse.automation.tell import tell
    from inhouse.cli.context import open_context

    context = open_context()
    catalog = context.app.catalog
    specs = [catalog.get(task)] if task else catalog.all()
    with context.app.database.read() as unit:
        found = tell(unit, context.app.proposals, specs)
    if as_json:
        context.print_json(asdict(found))
    else:
        typer.echo("\n".join(_lines(found)))


@app.command()
def accept(
    proposal_id: ProposalId,
    reason: Annotated[str, typer.Option(help="Why; kept with the proposal.")] = "",
    as_json: AsJson = False,
) -> None:
    """Have a proposal done: a training run, an evaluation or a rollout begins."""
    from inhouse.automation import records
    from inhouse.cli.context import open_context

    context = open_context()
    with context.app.database.write() as unit:
        seen = records.get(unit, proposal_id)
        done = context.app.proposals.accept(unit, seen, actor=context.actor, reason=reason)
    _show(done, as_json)


@app.command()
def decline(
    proposal_id: ProposalId,
    reason: Annotated[str, typer.Option(help="Why; kept with the proposal.")],
    as_json: AsJson = False,
) -> None:
    """Not this one. It comes back with new evidence only."""
    from inhouse.automation import records
    from inhouse.cli.context import open_context

    context = open_context()
    with context.app.database.write() as unit:
        seen = records.get(unit, proposal_id)
        done = context.app.proposals.decline(unit, seen, actor=context.actor, reason=reason)
    _show(done, as_json)


@app.command()
def history(
    task: Annotated[str | None, typer.Argument(help="Only of this task.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Proposals and refusals with their reasons and what became of them, newest first."""
    from dataclasses import asdict

    from inhouse.automation import records
    from inhouse.cli.context import open_context

    context = open_context()
    name = context.app.catalog.get(task).name if task else None
    with context.app.database.read() as unit:
        found = records.list_proposals(unit, task=name, limit=limit)
    if as_json:
        context.print_json([asdict(one) for one in found])
        return
    for one in found:
        typer.echo(_line(one))
    if not found:
        typer.echo("nothing was proposed or refused")


def _show(proposal: ProposalRecord, as_json: bool) -> None:
    from dataclasses import asdict

    from inhouse.cli.context import open_context

    if as_json:
        open_context().print_json(asdict(proposal))
    else:
        typer.echo(_line(proposal))


def _lines(found: Automation) -> list[str]:
    lines = []
    if found.paused is not None:
        reason = f": {found.paused.reason}" if found.paused.reason else ""
        lines.append(
            f"paused by {found.paused.actor} since {found.paused.at:%Y-%m-%d %H:%M}{reason}"
        )
    for task in found.tasks:
        lines.append(f"{task.task:<16} {task.mode}")
        if task.mode != "off":
            lines += [f"  training  {task.training}", f"  rollout   {task.rollout}"]
        lines += [f"  {_line(one)}" for one in task.proposals]
    return lines or ["no tasks"]


def _line(one: ProposalRecord) -> str:
    what = f"{one.what} {one.about}".strip()
    by = f" by {one.decided_by}" if one.decided_by else ""
    came = " ".join(f"{name} {value}" for name, value in one.result.items())
    reason = f"; {one.reason}" if one.reason and one.reason != one.why else ""
    return f"{one.id}  {one.task:<16} {what:<24} {one.state}{by}: {one.why}{reason}" + (
        f" ({came})" if came else ""
    )
