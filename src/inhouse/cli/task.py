"""``inhouse task``: what can be asked, and asking it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.cli.asking import Plan, Server

from inhouse.cli.task_readiness import readiness
from inhouse.cli.task_stats import stats

app = typer.Typer(name="task", help="Tasks: typed questions.", no_args_is_help=True)
app.command()(stats)
app.command()(readiness)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_NAMED = 10


@app.command("list")
def list_tasks(
    builtin: Annotated[bool, typer.Option("--builtin", help="Those in the box instead.")] = False,
    as_json: AsJson = False,
) -> None:
    """The declared tasks."""
    from inhouse.cli.context import open_context

    if builtin:
        _list_boxes(as_json)
        return
    context = open_context()
    rows = [describe(spec) for spec in context.app.catalog.all()]
    if as_json:
        context.print_json(rows)
        return
    if not rows:
        typer.echo("no tasks: declare one in inhouse.toml")
    for row in rows:
        chain = " -> ".join(row["chain"]) or "no general model"
        typer.echo(f"{row['name']:<20} {row['kind']:<8} {row['revision']}  {chain}")


def _list_boxes(as_json: bool) -> None:
    import json

    from inhouse.tasks.catalog import built_in

    boxes = built_in()
    if as_json:
        rows = [
            {"name": b.name, "kinds": list(b.kinds), "description": b.description} for b in boxes
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    for box in boxes:
        typer.echo(f"{box.name:<22} {', '.join(box.kinds):<14} {box.description}")


@app.command()
def show(name: str, as_json: AsJson = False) -> None:
    """One task: its answers, its prompt, its revision."""
    import json

    from inhouse.cli.context import open_context
    from inhouse.tasks.outputs import describe as answers

    context = open_context()
    spec = context.app.catalog.get(name)
    if as_json:
        context.print_json(describe(spec))
        return
    typer.echo(f"{spec.name}: {spec.description}")
    typer.echo(f"answer     {'an object' if spec.schema else answers(spec)}")
    typer.echo(f"revision   {spec.revision}")
    typer.echo(f"chain      {' -> '.join(spec.chain) or 'none'}")
    typer.echo(f"unit       {spec.unit}, time-out {spec.timeout_s:g} s")
    if spec.schema:
        typer.echo(f"schema\n{json.dumps(spec.schema, indent=2, ensure_ascii=False)}")
    typer.echo(f"prompt\n{spec.prompt.strip()}" if spec.prompt else "prompt     none")


@app.command()
def run(
    name: str,
    text: Annotated[str | None, typer.Argument(help="The input.")] = None,
    unit: Annotated[str | None, typer.Option(help="Key that stays on one side of a split.")] = None,
    model: Annotated[
        str | None, typer.Option(help="Reference to ask instead of the route.")
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help='JSONL instead: {"input", "id", "unit", "subject", "tags"}, or a text in quotes.'
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="With --file: where a line for each input is written.")
    ] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=256, help="Calls at once.")] = 8,
    fresh: Annotated[bool, typer.Option("--fresh", help="Delete --out and start over.")] = False,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Ask again the lines that hold an error.")
    ] = False,
    url: Annotated[str | None, typer.Option(help="With --file: ask this running server.")] = None,
    key: Annotated[
        str | None, typer.Option(envvar="INHOUSE_KEY", help="Key for the server of --url.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a task, recorded like any call: once, or for every line of a file.

    A file's run can be stopped, or killed, at any time: the same command goes on where it stopped.
    """
    from inhouse.core.errors import Invalid

    if (text is None) == (file is None) or (file is None) != (out is None):
        raise Invalid("give a text, or --file and --out", code="arguments")
    if file is None or out is None:
        _run_once(name, text or "", unit, model, as_json)
        return
    from inhouse.cli.asking import Plan, Server

    plan = Plan(
        task=name,
        file=file,
        out=out,
        model=model,
        concurrency=concurrency,
        fresh=fresh,
        retry_failed=retry_failed,
    )
    _run_file(plan, None if url is None else Server(url, key), as_json)


def _run_file(plan: Plan, server: Server | None, as_json: bool) -> None:
    from inhouse.cli.batch import run_file
    from inhouse.cli.context import open_context

    context = open_context()
    summary = run_file(context, plan, server, quiet=as_json)
    if as_json:
        context.print_json(summary)
    else:
        typer.echo(f"{summary.answered} answered, {summary.failed} failed: {summary.out}")
        if summary.unreadable:
            named = ", ".join(str(number) for number in summary.unreadable[:_NAMED])
            more = " ..." if len(summary.unreadable) > _NAMED else ""
            typer.echo(f"unreadable lines ({len(summary.unreadable)}): {named}{more}")
    if summary.failed:
        raise typer.Exit(1)


def _run_once(name: str, text: str, unit: str | None, model: str | None, as_json: bool) -> None:
    import asyncio

    from inhouse.cli.context import open_context
    from inhouse.core.ids import new_id
    from inhouse.gateway.entry import Call
    from inhouse.tasks.outputs import in_words

    context = open_context()
    gateway = context.app.gateway
    call = Call(task=name, text=text, unit=unit, model=model, interaction_id=new_id())

    async def once() -> Any:
        try:
            return await gateway.run(call)
        finally:
            await context.app.backends.close()

    context.app.start_calls([context.app.catalog.get(name).name])
    try:
        outcome = asyncio.run(once())
    finally:
        context.app.recorder.stop()
    if as_json:
        context.print_json(outcome)
        return
    answer = in_words(context.app.catalog.get(name), outcome.output)
    typer.echo(f"{answer}  ({outcome.model_version}, {outcome.latency_ms:.0f} ms)")


def describe(spec: Any) -> dict[str, Any]:
    """A task as plain values."""
    return {
        "name": spec.name,
        "kind": spec.kind.value,
        "description": spec.description,
        "labels": list(spec.labels),
        "range": [spec.low, spec.high] if spec.kind == "score" else None,
        "schema": spec.schema,
        "chain": list(spec.chain),
        "unit": spec.unit.value,
        "timeout_s": spec.timeout_s,
        "revision": spec.revision,
        "prompt": spec.prompt,
    }
