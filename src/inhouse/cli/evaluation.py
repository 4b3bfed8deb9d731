"""``inhouse evaluation``: is an own model good enough?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.cli.context import Context
    from inhouse.evaluation.records import EvaluationRecord
    from inhouse.jobs.queue import JobRecord

app = typer.Typer(name="evaluation", help="Evaluations and the gate.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(reference: str, as_json: AsJson = False) -> None:
    """Score TASK@N beside the incumbent, the general model and the floors, here and now."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import InhouseError
    from inhouse.evaluation.records import get
    from inhouse.evaluation.run import request

    context = open_context()
    context.app.evaluator.check(reference)
    with context.app.database.write() as unit:
        job = request(unit, reference, clock=context.app.clock)
    done = _follow(context, job.id, quiet=as_json)
    if done.result is None:
        why = f": {done.error}" if done.error else ""
        raise InhouseError(f"the evaluation is {done.status}{why}", code="evaluation-failed")
    with context.app.database.read() as unit:
        record = get(unit, done.result["evaluation_id"])
    _show(record, as_json=as_json)


def _follow(context: Context, job_id: str, *, quiet: bool) -> JobRecord:
    """Wait for the job's end with a bar in a terminal. Ctrl-C stops it."""
    import asyncio

    from rich.progress import Progress

    from inhouse.cli.work_here import work_here
    from inhouse.jobs import handler

    app_ = context.app
    try:
        with Progress(transient=True, disable=quiet or not context.console.is_terminal) as bar:
            shown = bar.add_task("evaluating", total=None)
            return work_here(
                context,
                job_id,
                lambda far: bar.update(
                    shown, completed=far.done, total=far.total, description=far.note
                ),
            )
    except KeyboardInterrupt:
        with app_.database.write() as unit:
            handler.cancel(unit, app_.handlers, job_id, at=app_.clock.now())
        work_here(context, job_id)
        raise
    finally:
        asyncio.run(app_.backends.close())


@app.command("list")
def list_all(task: Annotated[str | None, typer.Argument()] = None, as_json: AsJson = False) -> None:
    """Evaluations, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.evaluation.records import list_evaluations

    context = open_context()
    with context.app.database.read() as unit:
        found = list_evaluations(unit, task)
    if as_json:
        context.print_json(found)
        return
    if not found:
        typer.echo("no evaluations yet: inhouse evaluation run TASK@N")
    for record in found:
        typer.echo(
            f"{record.id}  {record.created_at:%Y-%m-%d %H:%M}  {record.candidate:<16} "
            f"{record.status:<8} {record.verdict or '-'}"
        )


@app.command()
def show(
    which: Annotated[str, typer.Argument(help="Id of an evaluation, or TASK@N: its newest.")],
    as_json: AsJson = False,
) -> None:
    """One evaluation: figures with intervals, comparisons, verdict and reasons."""
    _show(_find(which), as_json=as_json)


def _find(which: str) -> EvaluationRecord:
    from inhouse.cli.context import open_context
    from inhouse.core.errors import NotFound
    from inhouse.core.ids import is_id
    from inhouse.evaluation.records import get, list_evaluations

    with open_context().app.database.read() as unit:
        if is_id(which):
            return get(unit, which)
        task = which.partition("@")[0]
        found = [r for r in list_evaluations(unit, task) if r.candidate == which]
    if not found:
        raise NotFound(f"{which} was never evaluated", code="evaluation-not-found")
    return found[0]


def _show(record: EvaluationRecord, *, as_json: bool) -> None:
    from inhouse.cli.context import open_context

    context = open_context()
    if as_json:
        context.print_json(record)
        return
    context.console.print(table(record))
    typer.echo(f"verdict: {record.verdict or record.status}")
    for reason in record.reasons or ([record.error] if record.error else []):
        typer.echo(f"  {reason}")


def table(record: EvaluationRecord) -> Any:
    """The figures of an evaluation as a table for a terminal."""
    from rich.table import Table

    results = record.results or []
    names = sorted({name for result in results for name in result["figures"]} - {"score"})
    shown = Table(box=None, pad_edge=False, header_style="bold")
    shown.add_column("")
    for name in ("score", *names, "p50 ms"):
        shown.add_column(name.replace("_", "-"), justify="right")
    for result in results:
        cells = [_cell(result["figures"].get(name)) for name in ("score", *names)]
        speed = (result["latency"] or {}).get("p50_ms")
        cells.append("-" if speed is None else f"{speed['estimate']:.1f}")
        shown.add_row(f"{result['reference']} ({result['role']})", *cells)
    return shown


def _cell(interval: Any) -> str:
    if interval is None:
        return "-"
    return f"{interval['estimate']:.3f} [{interval['low']:.3f}, {interval['high']:.3f}]"
