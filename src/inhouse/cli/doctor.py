"""``inhouse doctor``: whether this project can work, and what to do where it cannot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from inhouse.bootstrap import App
    from inhouse.core.errors import InhouseError
    from inhouse.gateway.probe import Probed
    from inhouse.settings import Settings

OK, WARNING, FAILED = "ok", "warning", "failed"
_LEAST_FREE: Final = 1_000_000_000
_ANSWER_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; ``state``: ok, warning or failed."""

    name: str
    state: str
    message: str
    hint: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at settings, database, ModelStore, disk and port, and ask every backend of every task
    once. Nothing is recorded, though upstreams may charge for it. Exit 0 when all is well."""
    from dataclasses import asdict

    from inhouse.cli.context import open_context

    context = open_context()
    checks: list[Check] = []
    probed = _examine(checks)
    well = all(one.state != FAILED for one in checks) and all(one.ok for one in probed)
    if as_json:
        backends = [asdict(one) for one in probed]
        shown = [asdict(one) for one in checks]
        context.print_json({"ok": well, "checks": shown, "backends": backends})
    else:
        _print(checks, probed)
    if not well:
        raise typer.Exit(1)


def _examine(checks: list[Check]) -> list[Probed]:
    """Do every check that can be done; what the first ones find wrong keeps later ones away."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import InhouseError
    from inhouse.rollout.declared import check_plans
    from inhouse.settings import load_settings
    from inhouse.tasks.catalog import load_catalog

    context = open_context()
    try:
        settings = load_settings(context.folder)
        tasks = len(load_catalog(settings).all())
        check_plans(settings)
    except InhouseError as error:
        checks.append(_failed("settings", error))
        return []
    upstreams = len(settings.upstreams)
    read = f"{tasks} {'task' if tasks == 1 else 'tasks'}, "
    read += f"{upstreams} {'upstream' if upstreams == 1 else 'upstreams'}"
    checks.append(Check("settings", OK if tasks else WARNING, read, "" if tasks else _NO_TASK))
    checks += _keys(settings)
    checks += [_disk(settings), _port(settings), _database(settings)]
    if checks[-1].state == FAILED:
        return []
    try:
        app = context.app
    except InhouseError as error:
        checks.append(_failed("project", error))
        return []
    checks.append(_store(app))
    return _backends(app)


_NO_TASK: Final = "declare a task: `inhouse init` writes an inhouse.toml with one"


def _keys(settings: Settings) -> list[Check]:
    """Something to say only where an upstream may lack its key."""
    from inhouse.inference.upstream import without_key

    names = without_key(settings.upstreams)
    if not names:
        return []
    many = "upstreams" if len(names) > 1 else "upstream"
    return [Check("keys", WARNING, f"no api_key for the external {many} {', '.join(names)}", _KEY)]


_KEY: Final = "set it in inhouse.toml, or as INHOUSE_UPSTREAMS__NAME__API_KEY"


def _failed(name: str, error: InhouseError) -> Check:
    return Check(name, FAILED, error.message, error.hint)


def _disk(settings: Settings) -> Check:
    import shutil

    try:
        free = shutil.disk_usage(settings.folder).free
    except OSError as error:
        return Check("disk", FAILED, f"{settings.folder}: {error.strerror}", "see option --dir")
    message = f"{free / 1e9:.1f} GB free"
    if free >= _LEAST_FREE:
        return Check("disk", OK, message)
    return Check("disk", WARNING, message, "calls are refused when nothing can be recorded")


def _port(settings: Settings) -> Check:
    import errno
    import socket

    host, port = settings.server.host, settings.server.port
    where = f"{host} port {port}"
    if port == 0:
        return Check("port", OK, "a free one is taken at the start")
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        return Check("port", FAILED, f"{where}: {error.strerror or error}", _OTHER_PORT)
    family, kind, protocol, _, address = found[0]
    try:
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            return Check("port", FAILED, f"{where}: {error.strerror or error}", _OTHER_PORT)
        if _is_ours(address):
            return Check("port", OK, f"{where} is served by Inhouse already")
        return Check("port", FAILED, f"{where} is taken by another program", _OTHER_PORT)
    return Check("port", OK, f"{where} is free")


_OTHER_PORT: Final = "set server.host and server.port in inhouse.toml"


def _is_ours(address: Any) -> bool:
    """Whether an Inhouse answers there: it refuses this in words of its own, before its pages are
    loaded and whoever asks."""
    import json
    from http.client import HTTPConnection, HTTPException

    anywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}
    connection = HTTPConnection(anywhere.get(address[0], address[0]), address[1], timeout=5.0)
    try:
        connection.request("GET", "/v1/feedback")
        body = json.loads(connection.getresponse().read())
        return isinstance(body, dict) and str(body.get("type")).startswith("urn:inhouse:")
    except (OSError, HTTPException, ValueError):
        return False
    finally:
        connection.close()


def _database(settings: Settings) -> Check:
    """Whether it answers and takes something; its schema is brought up to date, as by every
    command."""
    from sqlalchemy.exc import SQLAlchemyError

    from inhouse.core.errors import InhouseError
    from inhouse.db.unit import Database
    from inhouse.migrations.upgrade import revision, upgrade

    try:
        database = Database(settings.database_url)
        try:
            upgrade(database)
            database.try_write()
            with database.read() as unit:
                found = revision(unit)
        finally:
            database.close()
    except InhouseError as error:
        return _failed("database", error)
    except (SQLAlchemyError, OSError) as error:
        said = str(getattr(error, "orig", error))
        return Check("database", FAILED, said, "see database.url in inhouse.toml")
    kind = "SQLite" if database.is_sqlite else "PostgreSQL"
    return Check("database", OK, f"{kind} answers, its schema is current ({found})")


def _store(app: App) -> Check:
    import tempfile

    root = app.settings.store_path
    try:
        with tempfile.TemporaryFile(dir=root) as file:
            file.write(b"inhouse")
    except OSError as error:
        hint = "models cannot be published; see store.path in inhouse.toml"
        return Check("store", FAILED, f"{root}: {error.strerror or error}", hint)
    return Check("store", OK, f"{root} can be written to")


def _backends(app: App) -> list[Probed]:
    import asyncio

    from inhouse.gateway.probe import probe, targets

    app.routes.refresh()
    specs = app.catalog.all()
    routes = {spec.name: app.routes.get(spec.name) for spec in specs}
    wanted = targets(specs, routes, app.settings.force)

    async def ask() -> list[Probed]:
        try:
            return await probe(wanted, app.backends.resolve, app.clock)
        finally:
            await app.backends.close()

    return asyncio.run(ask())


def _print(checks: Sequence[Check], probed: Sequence[Probed]) -> None:
    for one in checks:
        hint = f" ({one.hint})" if one.hint else ""
        typer.echo(f"{one.name:<10} {one.state:<8} {one.message}{hint}")
    if probed:
        _print_table(probed)


def _print_table(probed: Sequence[Probed]) -> None:
    from rich.table import Table
    from rich.text import Text

    from inhouse.cli.context import open_context

    table = Table()
    for name in ("task", "reference", "state", "answer", "ms", "tokens", "price"):
        figure = name in ("ms", "tokens", "price")
        table.add_column(name, justify="right" if figure else "left", overflow="fold")
    for one in probed:
        cells = (
            *(one.task, one.reference, OK if one.ok else FAILED, _cut(one.answer)),
            *(f"{one.latency_ms:.0f}", f"{one.input_tokens}+{one.output_tokens}"),
            f"{one.cost:.6f}",
        )
        table.add_row(*map(Text, cells))
    open_context().console.print(table, soft_wrap=False)
    for one in probed:
        if not one.ok:
            hint = f" ({one.hint})" if one.hint else ""
            typer.echo(f"{one.task} {one.reference} {one.code}: {one.message}{hint}")


def _cut(text: str) -> str:
    line = " ".join(text.split())
    if len(line) <= _ANSWER_CHARACTERS:
        return line
    return line[: _ANSWER_CHARACTERS - 3] + "..."
