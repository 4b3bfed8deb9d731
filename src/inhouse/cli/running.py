"""The running server that a command asks for what only it knows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.client.errors import ApiError
    from inhouse.client.sync import Client
    from inhouse.core.errors import InhouseError

Url = Annotated[
    str | None,
    typer.Option(envvar="INHOUSE_URL", help="Server; by default the one of this project."),
]
_NO_KEY = 401
_KEY_HINT = "give --key, or INHOUSE_KEY in the environment"
Key = Annotated[str | None, typer.Option(envvar="INHOUSE_KEY", help="Key to show to it.")]


@contextmanager
def open_client(url: str | None, key: str | None) -> Iterator[Client]:
    """A client of the server at ``url``, else of this project's by its settings. What it raises
    becomes an error of the command line: Denied, NotFound, Invalid for what is no address, else
    InhouseError (``unreachable`` where nothing answers)."""
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
    hint = _KEY_HINT if error.status == _NO_KEY else error.hint
    return kind(error.message, code=error.code, hint=hint)
