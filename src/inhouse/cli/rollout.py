"""``inhouse rollout``: traffic that moves to a candidate by evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from inhouse.cli.rollout_simulate import simulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from inhouse.db.unit import ReadUnit
    from inhouse.rollout.records import DecisionRecord, RolloutRecord
    from inhouse.rollout.tell import Told

app = typer.Typer(
    name="rollout", help="Traffic that moves to a candidate by evidence.", no_args_is_help=True
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Why = Annotated[str, typer.Option("--reason", help="Why; kept with the decision.")]


@app.command()
def start(
    task: str,
    to: Annotated[str, typer.Option("--to", help="Candidate, such as sentiment@1.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Abort the rollout that runs, if one does.")
    ] = False,
    shadow: Annotated[
        int | None,
        typer.Option(
            "--shadow", min=0, help="Copy at most so many calls to it before it gets any; 0: none."
        ),
    ] = None,
    reason: Why = "",
    as_json: AsJson = False,
) -> None:
    """Begin to move a task to a candidate. A running server does the rest."""
    from inhouse.cli.context import open_context
    from inhouse.rollout import steer
    from inhouse.rollout.declared import adjusted, plan_of

    context = open_context()
    spec = context.app.catalog.get(task)
    asked = {} if shadow is None else {"shadow_inputs": shadow}
    plan = plan_of(adjusted(context.app.settings.tasks[spec.name].rollout, asked))
    context.app.backends.check(to, plan.judge)
    with context.app.database.write() as unit:
        begun = steer.start(
            unit,
            spec,
            candidate=to,
            plan=plan,
            actor=context.actor,
            reason=reason,
            at=context.app.clock.now(),
            replace=replace,
        )
    _show(begun.id, one=True, as_json=as_json)


@app.command()
def status(task: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """The newest rollout of one task, or of all, with its newest evidence."""
    from inhouse.cli.context import open_context
    from inhouse.rollout import records

    context = open_context()
    specs = [context.app.catalog.get(task)] if task else context.app.catalog.all()
    with context.app.database.read() as unit:
        newest = [records.list_rollouts(unit, spec.name, 1) for spec in specs]
    found = [one[0].id for one in newest if one]
    if found or as_json:
        _show(*found, as_json=as_json)
    else:
        typer.echo("no rollouts; `inhouse rollout start TASK --to REFERENCE` begins one")


@app.command()
def pause(task: str, reason: Why = "", as_json: AsJson = False) -> None:
    """Stay at the weight that is in force. Harm still rolls back."""
    from inhouse.rollout import steer

    _change(task, reason, steer.pause, as_json=as_json)


@app.command()
def resume(task: str, reason: Why = "", as_json: AsJson = False) -> None:
    """Go on where a person or evidence stopped it."""
    from inhouse.rollout import steer

    _change(task, reason, steer.resume, as_json=as_json)


@app.command()
def rollback(task: str, reason: Why = "", as_json: AsJson = False) -> None:
    """Send everything to the incumbent, at once, and reject the candidate's version."""
    from functools import partial

    from inhouse.cli.context import open_context
    from inhouse.rollout import steer

    spec = open_context().app.catalog.get(task)
    _change(task, reason, partial(steer.rollback, spec=spec), as_json=as_json)


@app.command()
def history(
    task: str,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many rollouts.")] = 10,
    rollout_id: Annotated[str, typer.Option("--id", help="Only this rollout.")] = "",
    as_json: AsJson = False,
) -> None:
    """Rollouts of a task, newest first, with every decision and its reasons."""
    from inhouse.cli.context import open_context
    from inhouse.rollout import records
    from inhouse.rollout.tell import plain_told, tell

    context = open_context()
    name = context.app.catalog.get(task).name
    with context.app.database.read() as unit:
        found = [one.id for one in records.list_rollouts(unit, name, limit)]
        told = [tell(unit, one) for one in ([rollout_id] if rollout_id else found)]
    if as_json:
        context.print_json([plain_told(one) for one in told])
        return
    if not told:
        typer.echo(f"no rollouts of {name}")
    for one in told:
        typer.echo(_headline(one.rollout))
        for made in one.decisions:
            weight = f"{made.weight_bp / 100:g} %"
            why = "; ".join(made.reasons) or "-"
            typer.echo(
                f"  {made.created_at:%Y-%m-%d %H:%M:%S}  {made.kind:<9} {weight:<6} "
                f"{made.actor}: {why}"
            )


def _change(task: str, reason: str, verb: Callable[..., DecisionRecord], *, as_json: bool) -> None:
    """Do something with the rollout of a task that has not ended."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import NotFound
    from inhouse.rollout import records

    context = open_context()
    name = context.app.catalog.get(task).name
    with context.app.database.write() as unit:
        found = records.open_of(unit, name)
        if found is None:
            raise NotFound(f"no rollout of {name} runs", code="rollout-not-found")
        seen = records.get(unit, found.id, lock=True)
        at = context.app.clock.now()
        verb(unit, rollout=seen, actor=context.actor, reason=reason, at=at)
    _show(found.id, one=True, as_json=as_json)


def _show(*rollout_ids: str, one: bool = False, as_json: bool) -> None:
    from inhouse.cli.context import open_context
    from inhouse.rollout.tell import plain_view, tell

    context = open_context()
    now = context.app.clock.now()
    with context.app.database.read() as unit:
        told = [plain_view(unit, each, now) for each in rollout_ids] if as_json else []
        lines = [] if as_json else [_lines(unit, tell(unit, each), now) for each in rollout_ids]
    if as_json:
        context.print_json(told[0] if one else told)
    for each in lines:
        typer.echo("\n".join(each))


def _headline(rollout: RolloutRecord) -> str:
    from inhouse.rollout.tell import weight_of

    share = f"{weight_of(rollout) / 100:g} % {rollout.candidate}"
    return f"{rollout.task:<16} {rollout.state:<11} {share}, from {rollout.incumbent}"


def _lines(unit: ReadUnit, told: Told, now: datetime) -> list[str]:
    """A rollout in the words of its page: its key figures, and what the next step needs."""
    from inhouse.dashboard import rollouts_view as view
    from inhouse.dashboard.rollouts_checks import check_rows
    from inhouse.rollout.guardrails import ShadowReading
    from inhouse.rollout.outlook import outlook
    from inhouse.rollout.tally import from_json

    rollout = told.rollout
    waits, lines = outlook(unit, rollout, now), [_headline(rollout)]
    if told.decisions:
        last = told.decisions[-1]
        why = "; ".join(last.reasons) or "-"
        lines.append(f"  last  {last.kind} by {last.actor}: {why}")
    stored = None if told.reading is None else from_json(told.reading)
    reading = stored if waits is None else waits.reading
    if isinstance(reading, ShadowReading):
        tiles = view.shadow_tiles(rollout, reading, now)
    else:
        tiles = view.tiles(rollout, reading, now)
    for tile in tiles:
        figure = f"{tile.figure}  {tile.unit}".strip()
        lines.append(f"  {tile.name:<22} {figure:<22} {tile.note}".rstrip())
    for title, found in (
        ("before the next step:", waits.checks if waits else ()),
        ("else it is held:", waits.stops if waits else ()),
    ):
        rows = check_rows(rollout, found)
        lines += [f"  {title}"] if rows else []
        lines += [
            f"    {'met    ' if row.met else 'not met'}  {row.name}: {row.now}, {row.needed}"
            for row in rows
        ]
    return lines


app.command()(simulate)
