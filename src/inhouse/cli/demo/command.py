"""``inhouse demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[
        Path, typer.Option("--dir", help="Folder of the demo; everything stays in it.")
    ] = Path("inhouse-demo"),
    data: Annotated[
        Path | None, typer.Option(help="Your own CSV: columns text,label or text,score.")
    ] = None,
    base_url: Annotated[
        str, typer.Option(help="Ask this OpenAI-compatible server as the general model.")
    ] = "",
    model: Annotated[str, typer.Option(help="Its model; goes with --base-url.")] = "",
    fresh: Annotated[bool, typer.Option(help="Delete the folder's demo first.")] = False,
    keep_serving: Annotated[
        bool | None,
        typer.Option(help="Go on serving at the end; otherwise only in a terminal."),
    ] = None,
) -> None:
    """The whole story on this machine: a general model, corrections, an own model, the rollout."""
    from rich.console import Console

    from inhouse.cli.demo.folder import General, contents, prepare
    from inhouse.cli.demo.plan import plan_box, plan_file
    from inhouse.cli.demo.stage import perform
    from inhouse.cli.logs import configure_logs
    from inhouse.core.errors import Invalid

    if bool(base_url) != bool(model):
        raise Invalid("--base-url and --model go together")
    plan = plan_file(data) if data else plan_box()
    general = General(base_url, model)
    configure_logs("warning")
    there = contents(folder)
    progress = prepare(folder, plan, general, fresh=fresh)
    if there and fresh:
        typer.echo(f"deleted the demo in {folder}: {there}")
    elif there:
        typer.echo(f"resuming the demo in {folder}; --fresh would delete it: {there}")
    console = Console(highlight=False, soft_wrap=True)
    keeps = console.is_terminal if keep_serving is None else keep_serving
    perform(folder, plan, general, progress, console, keep_serving=keeps)
