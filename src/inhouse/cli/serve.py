"""``inhouse serve`` and ``inhouse worker``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from inhouse.settings import UpstreamSettings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind.")] = None,
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0: a free one.")] = None,
) -> None:
    """Run the gateway, the control API and the embedded job worker."""
    import gc

    gc.disable()  # what is loaded stays, and looking for garbage in it takes a sixth of the start
    from inhouse.api.serve import serve as run
    from inhouse.cli.context import open_context

    context = open_context()
    settings = context.app.settings.server
    context.app.database.try_write()

    def ready(url: str) -> None:
        typer.echo(f"inhouse {url}  (pages and API of {context.app.settings.folder}; Ctrl-C stops)")
        if not context.app.catalog.all():
            typer.echo("no task is declared; `inhouse init` writes an inhouse.toml", err=True)
        _warn_of_missing_keys(context.app.settings.upstreams)

    try:
        run(
            context.app,
            host=host or settings.host,
            port=settings.port if port is None else port,
            ready=ready,
        )
    finally:
        context.app.database.close()  # SQLite's file is whole then, without another beside it


def worker(
    threads: Annotated[int, typer.Option(min=1, max=16, help="Jobs at once.")] = 1,
) -> None:
    """Run background jobs (training, evaluation) and rollouts apart from a server. It follows
    inhouse.toml as a server does."""
    import signal
    import threading

    from inhouse.cli.context import open_context
    from inhouse.reload import Reloading

    app = open_context().app
    app.database.try_write()
    reloading, stop = Reloading(app), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    signal.signal(signal.SIGHUP, lambda *_: reloading.ask())
    pool = app.make_worker(threads)
    reloading.start()
    pool.start()
    app.controller.start()
    app.alerter.start()
    app.conductor.start()
    _warn_of_missing_keys(app.settings.upstreams)
    typer.echo("worker ready; Ctrl-C stops after the running job")
    stop.wait()
    reloading.stop()
    app.conductor.stop()
    app.alerter.stop()
    app.controller.stop()
    pool.stop()
    app.database.close()


def _warn_of_missing_keys(upstreams: Mapping[str, UpstreamSettings]) -> None:
    from inhouse.inference.upstream import without_key

    for name in without_key(upstreams):
        variable = f"INHOUSE_UPSTREAMS__{name.upper()}__API_KEY"
        typer.echo(f"upstream {name} is external and has no api_key, nor {variable}", err=True)
