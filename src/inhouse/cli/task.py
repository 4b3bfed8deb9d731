"""``inhouse task``: what can be asked, and asking it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

app = typer.Typer(name="task", help="Tasks: typed questions.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_tasks(as_json: AsJson = False) -> None:
    """The declared tasks."""
    from inhouse.cli.context import open_context

    context = open_context()
    rows = [describe(spec) for spec in context.app.catalog.all()]
    if as_json:
        context.print_json(rows)
        return
    for row in rows:
        chain = " -> ".join(row["chain"]) or "no general model"
        typer.echo(f"{row['name']:<20} {row['kind']:<8} {row['revision']}  {chain}")


@app.command()
def show(name: str, as_json: AsJson = False) -> None:
    """One task: its answers, its prompt, its revision."""
    from inhouse.cli.context import open_context
    from inhouse.tasks.outputs import describe as answers

    context = open_context()
    spec = context.app.catalog.get(name)
    if as_json:
        context.print_json(describe(spec))
        return
    typer.echo(f"{spec.name}: {spec.description}")
    typer.echo(f"answer     {answers(spec)}")
    typer.echo(f"revision   {spec.revision}")
    typer.echo(f"chain      {' -> '.join(spec.chain) or 'none'}")
    typer.echo(f"unit       {spec.unit}, time-out {spec.timeout_s:g} s")
    typer.echo(f"prompt\n{spec.prompt.strip()}")


@app.command()
def run(
    name: str,
    text: Annotated[str, typer.Argument(help="The input.")],
    unit: Annotated[str | None, typer.Option(help="Key that stays on one side of a split.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Reference to ask instead of the route.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a task once, recorded like any call."""
    import asyncio

    from inhouse.cli.context import open_context
    from inhouse.core.ids import new_id
    from inhouse.gateway.entry import Call

    context = open_context()
    gateway = context.app.gateway
    call = Call(task=name, text=text, unit=unit, model=model, interaction_id=new_id())

    async def once() -> Any:
        try:
            return await gateway.run(call)
        finally:
            await context.app.backends.close()

    context.app.recorder.start()
    try:
        outcome = asyncio.run(once())
    finally:
        context.app.recorder.stop()
    if as_json:
        context.print_json(outcome)
        return
    answer = outcome.output.get("label", outcome.output.get("value"))
    typer.echo(f"{answer}  ({outcome.model_version}, {outcome.latency_ms:.0f} ms)")


def describe(spec: Any) -> dict[str, Any]:
    """A task as plain values."""
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "description": spec.description,
        "labels": list(spec.labels),
        "range": [spec.low, spec.high] if spec.kind == "score" else None,
        "chain": list(spec.chain),
        "unit": spec.unit.value,
        "timeout_s": spec.timeout_s,
        "revision": spec.revision,
        "prompt": spec.prompt,
    }
