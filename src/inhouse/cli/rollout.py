"""``inhouse rollout``: traffic that moves to a candidate by evidence."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable

    from inhouse.rollout.bars import Run
    from inhouse.rollout.records import DecisionRecord, RolloutRecord
    from inhouse.rollout.report import Summary
    from inhouse.rollout.scenarios import Scenario
    from inhouse.rollout.simulate import Key
    from inhouse.rollout.tell import Told

app = typer.Typer(
    name="rollout", help="Traffic that moves to a candidate by evidence.", no_args_is_help=True
)

_BEGIN, _END = "<!-- figures:rollouts -->", "<!-- /figures:rollouts -->"


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
    from inhouse.rollout.declared import plan_of

    context = open_context()
    spec = context.app.catalog.get(task)
    asked = {} if shadow is None else {"shadow_inputs": shadow}
    plan = plan_of(context.app.settings.tasks[spec.name].rollout, **asked)
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
    _show(begun.id, as_json=as_json)


@app.command()
def status(task: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """The newest rollout of one task, or of all, with its newest evidence."""
    from inhouse.cli.context import open_context
    from inhouse.rollout import records
    from inhouse.rollout.tell import plain_told, tell

    context = open_context()
    specs = [context.app.catalog.get(task)] if task else context.app.catalog.all()
    with context.app.database.read() as unit:
        newest = [records.list_rollouts(unit, spec.name, 1) for spec in specs]
        told = [tell(unit, found[0].id) for found in newest if found]
    if as_json:
        context.print_json([plain_told(one) for one in told])
    elif told:
        for one in told:
            typer.echo("\n".join(_lines(one)))
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
    _show(found.id, as_json=as_json)


def _show(rollout_id: str, *, as_json: bool) -> None:
    from inhouse.cli.context import open_context
    from inhouse.rollout.tell import plain_told, tell

    context = open_context()
    with context.app.database.read() as unit:
        told = tell(unit, rollout_id)
    if as_json:
        context.print_json(plain_told(told))
    else:
        typer.echo("\n".join(_lines(told)))


def _headline(rollout: RolloutRecord) -> str:
    from inhouse.rollout.tell import weight_of

    share = f"{weight_of(rollout) / 100:g} % {rollout.candidate}"
    return f"{rollout.task:<16} {rollout.state:<11} {share}, from {rollout.incumbent}"


def _lines(told: Told) -> list[str]:
    lines = [_headline(told.rollout)]
    if told.decisions:
        last = told.decisions[-1]
        why = "; ".join(last.reasons) or "-"
        lines.append(f"  last  {last.kind} by {last.actor}: {why}")
    if told.reading is not None:
        lines += [
            f"  {name:<11} {_figure(value)}"
            for name, value in told.reading.items()
            if isinstance(value, int | float)
        ]
    return lines


def _figure(value: float) -> str:
    return f"{value:.0f}" if isinstance(value, int) else f"{value:.3g}"


@app.command()
def simulate(
    scenario: Annotated[
        list[str] | None, typer.Option(help="Only this scenario; may be repeated.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of every rule in every scenario.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="Master seed.")] = 5,
    processes: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 2,
    plot: Annotated[Path | None, typer.Option(help="SVG file of the ends, to write.")] = None,
    docs: Annotated[
        Path | None,
        typer.Option(help="Markdown page whose block of figures is written anew."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Simulated rollouts where the truth is known: how often our rule and others are wrong.

    Needs no project folder. Ctrl-C stops it. Fails when a bar is refuted.
    """
    from inhouse.cli.context import open_context
    from inhouse.rollout.report import lines

    chosen = _chosen(scenario or [])
    if docs is not None:
        _split(docs)
    found = _run(chosen, runs, seed, processes)
    if docs is not None:
        _write_docs(docs, found, seed, plot)
    if plot is not None:
        from inhouse.rollout.plot import svg

        _write(plot, svg(s for s in found if len(chosen) == 1 or _compared(s, found)))
    if as_json:
        open_context().print_json({"master_seed": seed, "runs": runs, "results": found})
    else:
        typer.echo(f"master seed {seed}, runs 0 to {runs - 1}")
        for summary in found:
            typer.echo("\n".join(lines(summary)))
    if any(bar.refuted for summary in found for bar in summary.bars):
        raise typer.Exit(1)


def _chosen(names: list[str]) -> list[Scenario]:
    from inhouse.core.errors import NotFound
    from inhouse.rollout.scenarios import SCENARIOS

    known = {one.name: one for one in SCENARIOS}
    for name in names:
        if name not in known:
            raise NotFound(
                f"there is no scenario {name}", code="no-scenario", hint=", ".join(known)
            )
    return [one for one in SCENARIOS if not names or one.name in names]


def _run(chosen: list[Scenario], runs: int, seed: int, processes: int) -> list[Summary]:
    from rich.console import Console
    from rich.progress import Progress

    from inhouse.rollout.report import summarise
    from inhouse.rollout.simulate import OURS, rules_of, simulate

    console = Console(stderr=True)
    total = runs * sum(len(rules_of(one)) for one in chosen)
    done: dict[Key, list[Run]] = defaultdict(list)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        shown = bar.add_task("simulating", total=total)
        for key, some in simulate(chosen, runs=runs, master=seed, processes=processes):
            done[key] += some
            bar.update(shown, advance=len(some), description=key[0])
    return [
        summarise(one, rule, done[one.name, rule], judged=rule == OURS)
        for one in chosen
        for rule in rules_of(one)
    ]


def _compared(summary: Summary, found: list[Summary]) -> bool:
    """Is there another rule in its scenario?"""
    return sum(one.scenario == summary.scenario for one in found) > 1


def _split(docs: Path) -> tuple[str, str]:
    """The page before and behind its block of figures."""
    from inhouse.core.errors import Invalid

    try:
        text = docs.read_text(encoding="utf-8")
    except OSError as error:
        raise Invalid(f"{docs}: {error.strerror or error}", code="no-figures-block") from None
    before, begin, rest = text.partition(_BEGIN)
    _, end, behind = rest.partition(_END)
    if not begin or not end:
        raise Invalid(
            f"{docs} has no block of figures",
            code="no-figures-block",
            hint=f"write {_BEGIN} and {_END} where they belong",
        )
    return before, behind


def _write_docs(docs: Path, found: list[Summary], seed: int, plot: Path | None) -> None:
    from inhouse.rollout.report import page

    drawn = f" --plot {plot}" if plot else ""
    command = f"inhouse rollout simulate --runs {found[0].runs} --seed {seed}{drawn} --docs {docs}"
    before, behind = _split(docs)
    block = page(found, master=seed, command=command)
    _write(docs, f"{before}{_BEGIN}\n{block}\n{_END}{behind}")


def _write(path: Path, text: str) -> None:
    from inhouse.cli.output import written

    with written(path) as file:
        file.write(text.encode("utf-8"))
