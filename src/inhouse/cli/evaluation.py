"""``inhouse evaluation``: is an own model good enough?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.evaluation.records import EvaluationRecord

app = typer.Typer(name="evaluation", help="Evaluations and the gate.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(reference: str, as_json: AsJson = False) -> None:
    """Score TASK@N beside the incumbent, the general model and the floors, here and now."""
    import asyncio

    from rich.progress import Progress

    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid
    from inhouse.core.references import ReferenceKind, parse_reference
    from inhouse.registry.versions import get

    context = open_context()
    parsed = parse_reference(reference)
    if parsed.kind is not ReferenceKind.VERSION:
        raise Invalid(f"{reference} is no model version", hint="write TASK@N")
    with context.app.database.read() as unit:
        version = get(unit, parsed.name, parsed.number)
    try:
        with Progress(transient=True, disable=as_json or not context.console.is_terminal) as bar:
            shown = bar.add_task("evaluating", total=None)

            def report(done: float, total: float, note: str) -> None:
                bar.update(shown, completed=done, total=total, description=note)

            record = context.app.evaluator.evaluate(version.id, progress=report)
    finally:
        asyncio.run(context.app.backends.close())
    _show(record, as_json=as_json)


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
