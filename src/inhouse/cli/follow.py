"""Staying with a training run until it ends: a bar in a terminal, lines elsewhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from inhouse.cli.context import Context
    from inhouse.training.runs import Run

Show = Callable[[Mapping[str, Any]], None]

_LOOK_S = 0.2
_GRACE_LOOKS = 10
_END_S = 10.0


def follow(context: Context, run: Run, *, quiet: bool = False) -> Run:
    """Wait for the end of a run and show how far it is; the run as it is then.

    A job that no worker takes within two seconds is done in this process. Ctrl-C asks for the run
    to be cancelled and waits for that; a second one leaves it to itself.
    """
    try:
        with _progress(context, quiet) as show:
            return _watch(context, run, show)
    except KeyboardInterrupt:
        from inhouse.core.errors import Conflict

        typer.echo("cancelling; Ctrl-C again leaves the run to itself", err=True)
        with suppress(Conflict), context.app.database.write() as unit:
            context.app.training.cancel(unit, run.id)
        return _watch(context, run, lambda _: None)


def _watch(context: Context, run: Run, show: Show) -> Run:
    from inhouse.cli.work_here import start_attempt
    from inhouse.core.states import RUNS, RunStatus
    from inhouse.training import runs

    seen, looks, pause = 0, 0, threading.Event()
    here: threading.Thread | None = None
    while True:
        with context.app.database.read() as unit:
            now = runs.get(unit, run.id)
            for event in runs.events(unit, run.id, after=seen):
                seen = event.sequence
                if event.kind == runs.PROGRESS:
                    show(event.data)
        if RUNS.is_final(now.status):
            if here is not None:
                here.join(_END_S)
            return now
        idle = here is None or not here.is_alive()
        if now.status is RunStatus.QUEUED and looks >= _GRACE_LOOKS and idle:
            here = start_attempt(context, now.job_id)
        looks += 1
        pause.wait(_LOOK_S)


@contextmanager
def _progress(context: Context, quiet: bool) -> Iterator[Show]:
    if quiet:
        yield lambda _: None
    elif context.console.is_terminal:
        from rich.progress import Progress

        with Progress(console=context.console, transient=True) as bar:
            task = bar.add_task("waiting for a worker", total=None)
            yield lambda data: bar.update(
                task, description=data["note"], total=data["total"], completed=data["done"]
            )
    else:
        yield _lines()


def _lines() -> Show:
    """One line for every new note."""
    last = ""

    def show(data: Mapping[str, Any]) -> None:
        nonlocal last
        if data["note"] != last:
            last = data["note"]
            typer.echo(f"{data['done'] / data['total']:4.0%} {last}")

    return show
