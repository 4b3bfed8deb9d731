"""``inhouse demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    folder: Annotated[
        Path | None,
        typer.Option(
            "--dir",
            help="Folder of the demo; everything stays in it. By default inhouse-demo, or "
            "inhouse-demo-poison.",
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Your own CSV: columns text,label or text,score.")
    ] = None,
    base_url: Annotated[
        str, typer.Option(help="Ask this OpenAI-compatible server as the general model.")
    ] = "",
    model: Annotated[str, typer.Option(help="Its model; goes with --base-url.")] = "",
    poison: Annotated[
        bool,
        typer.Option(
            "--poison", help="Three bad candidates instead, each of which is rolled back by itself."
        ),
    ] = False,
    fresh: Annotated[bool, typer.Option(help="Delete the folder's demo first.")] = False,
    keep_serving: Annotated[
        bool | None,
        typer.Option(help="Go on serving at the end; otherwise only in a terminal."),
    ] = None,
) -> None:
    """The whole story on this machine: a general model, corrections, an own model, the rollout."""
    from rich.console import Console

    from inhouse.cli.demo.folder import General
    from inhouse.cli.demo.plan import plan_box, plan_file
    from inhouse.cli.demo.stage import tell_poison, tell_story
    from inhouse.cli.logs import configure_logs
    from inhouse.core.errors import Invalid
    from inhouse.inference.http.address import Address

    if bool(base_url) != bool(model):
        raise Invalid("--base-url and --model go together")
    if base_url:
        Address(base_url)  # raises Invalid before anything is written
    if poison and (data or base_url):
        raise Invalid("--poison uses the texts in the box and asks no general model")
    plan = plan_file(data) if data else plan_box()
    configure_logs("warning")
    console = Console(highlight=False, soft_wrap=True)
    keeps = console.is_terminal if keep_serving is None else keep_serving
    if poison:
        folder = folder or Path("inhouse-demo-poison")
        if not tell_poison(folder, plan, console, fresh=fresh, keep_serving=keeps):
            raise typer.Exit(1)
        return
    folder, general = folder or Path("inhouse-demo"), General(base_url, model)
    tell_story(folder, plan, general, console, fresh=fresh, keep_serving=keeps)
