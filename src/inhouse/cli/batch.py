"""``inhouse task run --file``: a task over many inputs, resumable."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from inhouse.api.body import convert, parse
from inhouse.cli.asking import Ask, Busy, LineInput, Plan, Server, at_server, error_of, in_project
from inhouse.cli.lines import Inputs, Line, Results
from inhouse.core.errors import InhouseError

if TYPE_CHECKING:
    from rich.console import Console

    from inhouse.cli.context import Context

_AHEAD = 64
_INTERRUPTED = 130
_LONGEST_WAIT_S = 60.0
_WAITS = 10

_decoder = msgspec.json.Decoder()
_Text = Annotated[str, msgspec.Meta(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the out file holds after a run. ``asked_now``: lines of this run; ``unreadable``: the
    numbers of those of them that are no input."""

    task: str
    out: str
    lines: int
    answered: int
    failed: int
    asked_now: int
    unreadable: list[int]


@dataclass(kw_only=True)
class Tally:
    """How far this run is: ``asked`` of ``to_ask`` lines, ``failed`` of them; the numbers of the
    lines that could not be read."""

    to_ask: int = 0
    asked: int = 0
    failed: int = 0
    unreadable: list[int] = field(default_factory=list)
    stop: asyncio.Event = field(default_factory=asyncio.Event)


Show = Callable[[Tally], None]


async def run(
    inputs: Inputs, results: Results, plan: Plan, ask: Ask, tally: Tally, show: Show
) -> None:
    """Ask what has no result yet, and what failed where the plan says so. Ctrl-C lets the calls
    under way finish, a second one cancels them. Raises Stopped when going on makes no sense."""
    again = sorted(results.failed) if plan.retry_failed else []
    fresh = [at for at in range(results.done, inputs.count) if not results.has(at)]
    waiting = chain(again, fresh)
    tally.to_ask = len(again) + len(fresh)
    window = plan.concurrency * _AHEAD
    moved = asyncio.Event()

    async def work() -> None:
        for position in waiting:
            while position >= results.done + window and not tally.stop.is_set():
                moved.clear()
                await moved.wait()
            if tally.stop.is_set():
                return
            result = await _one(inputs, position, ask, tally)
            if result is None:
                return
            results.put(position, result)
            moved.set()
            tally.asked += 1
            tally.failed += "error" in result
            show(tally)

    show(tally)
    with _until_interrupted(tally.stop, moved):
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(plan.concurrency, tally.to_ask)):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None


async def _one(inputs: Inputs, position: int, ask: Ask, tally: Tally) -> Line | None:
    """The result of one line; None when the run is stopped before there is one."""
    named: Line = {}
    try:
        value = parse(_decoder, inputs.text(position).strip())
        if isinstance(value, dict) and "id" in value:
            named["id"] = value["id"]
        read = convert(value, _Text) if isinstance(value, str) else convert(value, LineInput)
    except InhouseError as error:
        tally.unreadable.append(inputs.number(position))
        said = error_of(error, error.status)
        return named | {"error": said | {"message": said["message"].replace("body", "line", 1)}}
    line = LineInput(input=read) if isinstance(read, str) else read
    result = await _patiently(ask, line, tally.stop)
    return None if result is None else named | result


async def _patiently(ask: Ask, line: LineInput, stop: asyncio.Event) -> Line | None:
    """Ask, and wait where a limit says when it may be asked again."""
    for left in reversed(range(_WAITS)):
        try:
            return await ask(line)
        except Busy as error:
            busy = error
        if not left or busy.retry_after > _LONGEST_WAIT_S:
            return busy.result
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), busy.retry_after)
            break
    return None


@contextmanager
def _until_interrupted(stop: asyncio.Event, moved: asyncio.Event) -> Iterator[None]:
    """Ctrl-C sets both events; a second one cancels the task that is in here."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()

    def interrupt() -> None:
        if stop.is_set() and task is not None:
            task.cancel()
            return
        stop.set()
        moved.set()
        typer.echo("finishing the calls under way; Ctrl-C again leaves them", err=True)

    loop.add_signal_handler(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)


def run_file(context: Context, plan: Plan, server: Server | None, *, quiet: bool) -> Summary:
    """Do the whole run. Raises what keeps it from starting or going on; lines that fail are in the
    summary."""

    async def ask_all(inputs: Inputs, results: Results, tally: Tally, show: Show) -> None:
        asking = in_project(context.app, plan) if server is None else at_server(server, plan)
        async with asking as ask:
            await run(inputs, results, plan, ask, tally, show)

    tally = Tally()
    with closing(Inputs(plan.file)) as inputs:
        identity = {"task": plan.task, "model": plan.model, "input file": inputs.digest}
        results = Results(plan.out, inputs, identity, fresh=plan.fresh)
        try:
            with results, progress(context.console, quiet=quiet) as show:
                asyncio.run(ask_all(inputs, results, tally, show))
        except (InhouseError, asyncio.CancelledError) as error:
            _say_how_to_go_on(results.done, inputs.count)
            if isinstance(error, InhouseError):
                raise
            raise typer.Exit(_INTERRUPTED) from None
        if tally.stop.is_set():
            _say_how_to_go_on(results.done, inputs.count)
            raise typer.Exit(_INTERRUPTED)
        return Summary(
            task=plan.task,
            out=str(plan.out),
            lines=inputs.count,
            answered=results.done - len(results.failed),
            failed=len(results.failed),
            asked_now=tally.asked,
            unreadable=sorted(tally.unreadable),
        )


def _say_how_to_go_on(done: int, count: int) -> None:
    if done:
        typer.echo(
            f"{done} of {count} lines are done; the same command goes on from there", err=True
        )


@contextmanager
def progress(console: Console, *, quiet: bool) -> Iterator[Show]:
    """How far a run is: a bar in a terminal, lines elsewhere."""
    if quiet:
        yield lambda _: None
    elif console.is_terminal:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        columns = (
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[failed]} failed"),
            TextColumn("{task.fields[rate]}/s"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("", total=None, failed=0, rate="-")

            def show(tally: Tally) -> None:
                speed = bar.tasks[task].speed
                bar.update(
                    task,
                    total=tally.to_ask,
                    completed=tally.asked,
                    failed=tally.failed,
                    rate="-" if speed is None else f"{speed:.1f}",
                )

            yield show
    else:
        yield _lines()


def _lines() -> Show:
    """One line for every tenth."""
    last = -1

    def show(tally: Tally) -> None:
        nonlocal last
        tenth = tally.asked * 10 // tally.to_ask if tally.to_ask else 10
        if tenth > last:
            last = tenth
            typer.echo(f"{tally.asked}/{tally.to_ask} done, {tally.failed} failed", err=True)

    return show
