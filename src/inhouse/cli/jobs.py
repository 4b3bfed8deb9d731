"""``inhouse jobs``: background work, and what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.jobs.pause import Pause
    from inhouse.jobs.queue import JobRecord

app = typer.Typer(name="jobs", help="Background work.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(help="Id of the job.")]


@app.command("list")
def list_all(
    status: Annotated[
        str | None, typer.Option(help="Only queued, running, done, failed or cancelled ones.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Only jobs of this name.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most jobs shown.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Jobs, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.jobs import queue
    from inhouse.jobs.pause import paused

    context = open_context()
    with context.app.database.read() as unit:
        found = queue.list_jobs(unit, status=_status(status), name=name, limit=limit)
        stopped = paused(unit)
    if as_json:
        context.print_json([_plain(job) for job in found])
        return
    if stopped is not None:
        typer.echo(_paused_line(stopped))
    if not found:
        typer.echo("no jobs")
    for job in found:
        typer.echo(
            f"{job.id}  {job.name:<16} {job.status:<10} {job.created_at:%Y-%m-%d %H:%M:%S}  "
            f"{_how_far(job)}"
        )


@app.command()
def show(job_id: JobId, as_json: AsJson = False) -> None:
    """One job: arguments, attempts, progress, result or error."""
    from inhouse.cli.context import open_context
    from inhouse.jobs import queue

    with open_context().app.database.read() as unit:
        job = queue.get(unit, job_id)
    _print(job, as_json)


@app.command()
def cancel(job_id: JobId, as_json: AsJson = False) -> None:
    """Cancel a queued job at once; ask a running one to stop."""
    from inhouse.cli.context import open_context
    from inhouse.jobs import handler

    context = open_context()
    with context.app.database.write() as unit:
        job = handler.cancel(unit, context.app.handlers, job_id, at=context.app.clock.now())
    _print(job, as_json)


@app.command()
def retry(job_id: JobId, as_json: AsJson = False) -> None:
    """Queue a failed or cancelled job once more."""
    from inhouse.cli.context import open_context
    from inhouse.jobs import handler

    context = open_context()
    with context.app.database.write() as unit:
        job = handler.retry(unit, context.app.handlers, job_id, at=context.app.clock.now())
    _print(job, as_json)


@app.command()
def pause(
    reason: Annotated[str, typer.Option(help="Why; shown to everybody.")] = "",
    as_json: AsJson = False,
) -> None:
    """Stop all background work: no job, training or rollout begins, and rollouts only go back.
    Running jobs end; calls are answered as ever."""
    from inhouse.cli.context import open_context
    from inhouse.jobs import pause as pausing

    context = open_context()
    at = context.app.clock.now()
    with context.app.database.write() as unit:
        found = pausing.pause(unit, actor=context.actor, reason=reason, at=at)
    if as_json:
        context.print_json({"paused": {name: getattr(found, name) for name in found.__slots__}})
    else:
        typer.echo(_paused_line(found))


@app.command()
def resume(as_json: AsJson = False) -> None:
    """Go on after a pause."""
    from inhouse.cli.context import open_context
    from inhouse.jobs import pause as pausing

    context = open_context()
    with context.app.database.write() as unit:
        was = pausing.resume(unit)
    if as_json:
        context.print_json({"paused": None})
    else:
        typer.echo("background work goes on" if was else "nothing was paused")


def _paused_line(found: Pause) -> str:
    reason = f": {found.reason}" if found.reason else ""
    return f"paused by {found.actor} since {found.at:%Y-%m-%d %H:%M:%S}{reason}"


def _status(text: str | None) -> Any:
    from inhouse.core.errors import Invalid
    from inhouse.core.states import JobStatus

    if text is None:
        return None
    if text not in list(JobStatus):
        raise Invalid(f"{text!r} is no status of a job", hint="one of " + ", ".join(JobStatus))
    return JobStatus(text)


def _how_far(job: JobRecord) -> str:
    if job.error:
        return job.error
    if job.progress is None or job.is_final:
        return ""
    share = f"{job.progress.done / job.progress.total:.0%} " if job.progress.total else ""
    return share + job.progress.note


def _plain(job: JobRecord) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(job)


def _print(job: JobRecord, as_json: bool) -> None:
    from inhouse.cli.context import open_context

    if as_json:
        open_context().print_json(_plain(job))
        return
    for name, value in _plain(job).items():
        if value is not None:
            typer.echo(f"{name:<16} {value}")
