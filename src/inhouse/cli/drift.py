"""``inhouse drift``: are calls still like what their models were made from?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.monitoring.drift_records import DriftRecord

app = typer.Typer(
    name="drift",
    help="Drift: whether calls are still like what their models were made from.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Task = Annotated[str | None, typer.Argument(help="Only this task.")]


@app.command()
def check(task: Task = None, as_json: AsJson = False) -> None:
    """Look at every model of a task, or of all tasks, here and now, and keep what is found."""
    from inhouse.cli.context import open_context

    context = open_context()
    catalog = context.app.catalog
    found: list[DriftRecord] = []
    skipped: dict[str, str] = {}
    encoder = context.app.drift.encoder()
    for spec in catalog.all() if task is None else [catalog.get(task)]:
        records, left_out = context.app.drift.look(spec, encoder)
        found += records
        skipped |= {f"{spec.name}: {name}": why for name, why in left_out.items()}
    if as_json:
        context.print_json({"looks": [_plain(one) for one in found], "skipped": skipped})
        return
    _print(found)
    for name, why in skipped.items():
        typer.echo(f"{name:<36} nothing to compare: {why}")


@app.command("list")
def list_looks(
    task: Task = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Most looks shown.")] = 20,
    as_json: AsJson = False,
) -> None:
    """What was found, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.monitoring.drift_records import list_drift

    context = open_context()
    with context.app.database.read() as unit:
        found = list_drift(unit, task, limit)
    if as_json:
        context.print_json([_plain(one) for one in found])
        return
    _print(found)
    if not found:
        typer.echo("no look is kept: inhouse drift check, with enough calls")


def _plain(record: DriftRecord) -> dict[str, Any]:
    from dataclasses import asdict

    return {**asdict(record), "reasons": record.reasons}


def _print(found: list[DriftRecord]) -> None:
    for one in found:
        word = "drifted" if one.drifted else "like before"
        typer.echo(
            f"{f'{one.task}: {one.reference}':<36} {one.created_at:%Y-%m-%d %H:%M}  {word:<12} "
            f"inputs {_distance(one.inputs)}  outputs {_distance(one.outputs)}  "
            f"{one.calls} calls"
        )
        for side in ("inputs", "outputs"):
            told = one.detail[side]
            for gap in told["gaps"]:
                if gap["drifted"]:
                    typer.echo(
                        f"  {side}, {gap['name']}: {gap['words']} (beside {told['against']})"
                    )


def _distance(value: float | None) -> str:
    return "  –" if value is None else f"{value:.2f}"
