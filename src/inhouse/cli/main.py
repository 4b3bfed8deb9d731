"""``inhouse``: every noun of the command line, and what becomes of an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from inhouse import __version__
from inhouse.cli import (
    alerts,
    automation,
    breakers,
    database,
    dataset,
    doctor,
    drift,
    evaluation,
    experiment,
    feedback,
    independence,
    interactions,
    jobs,
    keys,
    limits,
    project,
    rollout,
    routes,
    serve,
    store,
    task,
    train,
    versions,
)
from inhouse.cli.context import set_folder
from inhouse.cli.demo.command import demo
from inhouse.core.errors import InhouseError

app = typer.Typer(
    name="inhouse",
    help="Brings your AI in house: call tasks through one gateway, record every answer, "
    "train own models from corrections, and move traffic to them.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(project.init)
app.command("serve")(serve.serve)
app.command("worker")(serve.worker)
app.command("demo")(demo)
app.command("doctor")(doctor.doctor)
app.command("limits")(limits.limits)
for group in (
    task,
    interactions,
    feedback,
    dataset,
    train,
    store,
    versions,
    evaluation,
    rollout,
    experiment,
    drift,
    independence,
    automation,
    routes,
    breakers,
    alerts,
    jobs,
    keys,
    database,
):
    app.add_typer(group.app)
app.add_typer(alerts.notify)


def _tell_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    folder: Annotated[
        Path, typer.Option("--dir", help="Project folder: holds inhouse.toml and .inhouse/.")
    ] = Path(),
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_tell_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    set_folder(folder)


def run() -> None:
    """Entry point. An error that we know becomes one line and its exit code."""
    try:
        app()
    except InhouseError as error:
        hint = f" ({error.hint})" if error.hint else ""
        typer.echo(f"error: {error.message}{hint}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        raise
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        typer.echo(f"error: {what}", err=True)
        sys.exit(2)
    except KeyboardInterrupt:
        typer.echo("stopped", err=True)
        sys.exit(130)
    except UnicodeEncodeError as error:
        if not any("\udc80" <= letter <= "\udcff" for letter in error.object):
            raise
        typer.echo("error: an argument holds bytes that are no UTF-8", err=True)
        sys.exit(2)
    except Exception as error:
        said = _of_database(error)
        if not said:
            raise
        typer.echo(f"error: the database: {said}", err=True)
        sys.exit(1)


def _of_database(error: Exception) -> str:
    """What a database said that failed under a command (locked, full, only to be read); "" for any
    other error. Nothing here loads SQLAlchemy: who raises its errors has."""
    loaded = sys.modules.get("sqlalchemy.exc")
    if loaded is None or not isinstance(error, loaded.OperationalError | loaded.InternalError):
        return ""
    return " ".join(str(error.orig).split())


if __name__ == "__main__":
    run()
