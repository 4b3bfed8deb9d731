"""``inhouse breakers``: which backends a running server leaves alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.client.breakers import Breaker
    from inhouse.client.errors import ApiError
    from inhouse.client.sync import Client
    from inhouse.core.errors import InhouseError

app = typer.Typer(
    name="breakers",
    help="Circuit breakers of a running server: which backends it leaves alone.",
    no_args_is_help=True,
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Url = Annotated[
    str | None,
    typer.Option(envvar="INHOUSE_URL", help="Server; by default the one of this project."),
]
Key = Annotated[str | None, typer.Option(envvar="INHOUSE_KEY", help="Key to show to it.")]


@app.command("list")
def list_all(url: Url = None, key: Key = None, as_json: AsJson = False) -> None:
    """Every breaker, with the last failure of its backend."""
    from inhouse.cli.context import open_context
    from inhouse.client.breakers import list_breakers

    with _server(url, key) as client:
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

    with _server(url, key) as client:
        found = reset_breaker(client, reference)
    if as_json:
        open_context().print_json(found.model_dump(mode="json"))
    else:
        typer.echo(_line(found))


@contextmanager
def _server(url: str | None, key: str | None) -> Iterator[Client]:
    """A client of the server; what it raises becomes an error of the command line."""
    from inhouse.client.errors import ApiError
    from inhouse.client.sync import Client
    from inhouse.core.errors import Invalid

    try:
        client = Client(url or _own_url(), key=key, timeout_s=10.0)
    except ValueError as error:
        raise Invalid(str(error), code="url", hint="write it as http://127.0.0.1:8040") from None
    with client:
        try:
            yield client
        except ApiError as error:
            raise _told(error) from None


def _own_url() -> str:
    """Where this project's server is by its settings."""
    from inhouse.cli.context import open_context
    from inhouse.settings import load_settings

    server = load_settings(open_context().folder).server
    host = "127.0.0.1" if server.host in ("0.0.0.0", "::") else server.host
    return f"http://[{host}]:{server.port}" if ":" in host else f"http://{host}:{server.port}"


def _told(error: ApiError) -> InhouseError:
    from inhouse.core.errors import Denied, InhouseError, NotFound

    kinds: dict[int, type[InhouseError]] = {401: Denied, 403: Denied, 404: NotFound}
    kind = kinds.get(error.status, InhouseError)
    return kind(error.message, code=error.code, hint=error.hint)


def _line(one: Breaker) -> str:
    until = f" until {one.until:%H:%M:%S} UTC" if one.until and one.state != "closed" else ""
    last = f"  last failure {one.error_code}: {one.error}" if one.error_code else ""
    counts = f"{one.failures} in a row, {one.calls} calls, {one.in_flight} under way"
    return f"{one.reference:<32} {one.state + until:<24} {counts}, opened {one.opened}x{last}"
