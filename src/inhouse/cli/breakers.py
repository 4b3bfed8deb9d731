"""``inhouse breakers``: which backends a running server leaves alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from inhouse.cli.running import Key, Url, open_client

if TYPE_CHECKING:
    from inhouse.client.breakers import Breaker

app = typer.Typer(
    name="breakers",
    help="Circuit breakers of a running server: which backends it leaves alone.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_all(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Every breaker, with the last failure of its backend."""
    from inhouse.cli.context import open_context
    from inhouse.client.breakers import list_breakers

    with open_client(url, key) as client:
        found = list_breakers(client)
    if as_json:
        open_context().print_json([one.model_dump(mode="json") for one in found])
        return
    for one in found:
        typer.echo(_line(one))
    if not found:
        typer.echo("no backend was asked yet")


@app.command()
def reset(
    reference: Annotated[str, typer.Argument(help="Model, such as local/llama3.2.")],
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Close a breaker: the next call goes to its backend."""
    from inhouse.cli.context import open_context
    from inhouse.client.breakers import reset_breaker

    with open_client(url, key) as client:
        found = reset_breaker(client, reference)
    if as_json:
        open_context().print_json(found.model_dump(mode="json"))
    else:
        typer.echo(_line(found))


def _line(one: Breaker) -> str:
    until = f" until {one.until:%H:%M:%S} UTC" if one.until and one.state != "closed" else ""
    last = f"  last failure {one.error_code}: {one.error}" if one.error_code else ""
    counts = f"{one.failures} in a row, {one.calls} calls, {one.in_flight} under way"
    return f"{one.reference:<32} {one.state + until:<24} {counts}, opened {one.opened}x{last}"
