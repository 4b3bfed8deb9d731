"""``inhouse train``: runs that make own models out of snapshots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.training.runs import Run

app = typer.Typer(name="train", help="Training runs.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_SHOWN = 20


@app.command()
def start(
    task: Annotated[str, typer.Argument(help="Name of the task.")],
    recipe: Annotated[
        str, typer.Option(help="How to train; `train recipes` lists them.")
    ] = "encoder-head.v1",
    change: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of a setting of the recipe.")
    ] = None,
    snapshot: Annotated[
        str, typer.Option(help="Id or first characters of the hash, or latest.")
    ] = "latest",
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the run has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Train on a snapshot. With --wait, in this process unless a worker is at hand."""
    from inhouse.cli.context import open_context
    from inhouse.cli.follow import follow
    from inhouse.datasets.snapshot import get as get_snapshot

    context = open_context()
    app_ = context.app
    with app_.database.write() as unit:
        run = app_.training.request(
            unit,
            app_.catalog.get(task),
            get_snapshot(unit, snapshot, task),
            recipe=recipe,
            overrides=_overrides(change or ()),
            actor=context.actor,
        )
    if wait:
        run = follow(context, run, quiet=as_json)
    _print(run, as_json)
    if wait and run.status != "succeeded":
        raise typer.Exit(1)


@app.command()
def status(
    run_id: Annotated[
        str | None, typer.Argument(help="Id of the run; without, the newest.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """One run with its events, or the newest runs."""
    from dataclasses import asdict

    from inhouse.cli.context import open_context
    from inhouse.training import runs

    context = open_context()
    with context.app.database.read() as unit:
        if run_id is None:
            found = runs.list_runs(unit, limit=_SHOWN)
            _print_list(found, as_json)
            return
        run, events = runs.get(unit, run_id), runs.events(unit, run_id)
    if as_json:
        context.print_json({**asdict(run), "events": [asdict(event) for event in events]})
        return
    _print(run, as_json=False)
    for event in events[-_SHOWN:]:
        typer.echo(f"  {event.at:%H:%M:%S} {event.kind:<9} {_said(event.data)}")


def _said(data: Mapping[str, Any]) -> str:
    """An event in words; of a point of the curve only what was measured."""
    point = data.get("point") or {}
    words = [str(value) for name, value in data.items() if name != "point"]
    measured = ("train_loss", "valid_score")
    words += [f"{name} {point[name]}" for name in measured if point.get(name) is not None]
    return " ".join(words)


@app.command()
def cancel(
    run_id: Annotated[str, typer.Argument(help="Id of the run.")], as_json: AsJson = False
) -> None:
    """Cancel a queued run at once; ask a running one to stop."""
    from inhouse.cli.context import open_context

    context = open_context()
    with context.app.database.write() as unit:
        run = context.app.training.cancel(unit, run_id)
    _print(run, as_json)


@app.command()
def recipes(as_json: AsJson = False) -> None:
    """The recipes there are, with their settings and defaults."""
    from inhouse.cli.context import open_context
    from inhouse.training.recipes import RECIPES, resolve

    defaults = {name: resolve(name, {})[1].model_dump(mode="json") for name in RECIPES}
    if as_json:
        found = [
            {"name": recipe.name, "summary": recipe.summary, "settings": defaults[recipe.name]}
            for recipe in RECIPES.values()
        ]
        open_context().print_json(found)
        return
    for recipe in RECIPES.values():
        typer.echo(f"{recipe.name}: {recipe.summary}")
        for key, value in defaults[recipe.name].items():
            typer.echo(f"  {key} = {value}")


def _overrides(changes: Iterable[str]) -> dict[str, Any]:
    """``KEY=VALUE``; a value that is JSON is taken as that, anything else as text."""
    import msgspec

    from inhouse.core.errors import Invalid

    found: dict[str, Any] = {}
    for change in changes:
        key, sign, text = change.partition("=")
        if not sign:
            raise Invalid(
                f"{change!r} is not KEY=VALUE", code="recipe-settings", hint="such as folds=3"
            )
        try:
            found[key] = msgspec.json.decode(text)
        except msgspec.DecodeError:
            found[key] = text
    return found


def _print(run: Run, as_json: bool) -> None:
    from dataclasses import asdict

    from inhouse.cli.context import open_context

    if as_json:
        open_context().print_json(asdict(run))
        return
    typer.echo(f"run {run.id}  {run.task}  {run.recipe}  {run.status}")
    typer.echo(f"snapshot {run.snapshot_hash[:12]}  by {run.actor}")
    if run.error:
        typer.echo(f"error {run.error}")
    if run.metrics:
        typer.echo("cross-validated " + _words(run.metrics))
        typer.echo(f"version {run.version_id}")


def _words(figures: Any) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in figures.items())


def _print_list(found: list[Run], as_json: bool) -> None:
    from dataclasses import asdict

    from inhouse.cli.context import open_context

    if as_json:
        open_context().print_json([asdict(run) for run in found])
        return
    if not found:
        typer.echo("no training runs yet: inhouse train start TASK")
    for run in found:
        typer.echo(
            f"{run.id}  {run.task:<16} {run.recipe:<16} {run.status:<10} "
            f"{run.created_at:%Y-%m-%d %H:%M:%S}"
        )
