"""``inhouse interactions purge``: erase a subject's data, or what is old."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from inhouse.cli.context import Context
    from inhouse.jobs.queue import JobRecord
    from inhouse.monitoring.erasure import ErasureRecord

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def purge(
    subject: Annotated[
        str | None, typer.Option(help="Everything of this subject, as calls name it.")
    ] = None,
    before: Annotated[
        str | None, typer.Option(help="Calls that began before this time, ISO 8601.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Erase what calls said, everything said about them, and the examples made of them.

    Counts stay. Names the versions that were trained from some of it. Stopped half way, the same
    command goes on.
    """
    from inhouse.cli.context import open_context
    from inhouse.core.errors import Invalid

    if (subject is None) == (before is None):
        raise Invalid("name either a subject or a time", hint="--subject ID or --before DATE")
    context = open_context()
    if not yes:
        typer.confirm(_question(context, subject, before), abort=True, err=True)
    done, record = _run(context, _request(context, subject, before))
    if as_json:
        context.print_json({"job": asdict(done), "erasure": record and asdict(record)})
    else:
        _print(done, record)
    if done.error is not None or record is None:
        raise typer.Exit(1)


def erasures(as_json: AsJson = False) -> None:
    """What was erased so far, newest first."""
    from inhouse.cli.context import open_context
    from inhouse.monitoring.erasure import list_erasures

    context = open_context()
    with context.app.database.read() as unit:
        found = list_erasures(unit)
    if as_json:
        context.print_json([asdict(one) for one in found])
        return
    if not found:
        typer.echo("nothing was erased")
    for one in found:
        typer.echo(f"{one.created_at:%Y-%m-%d %H:%M:%S}  {_words(one)}")


def _question(context: Context, subject: str | None, before: str | None) -> str:
    from inhouse.cli.times import parse_time
    from inhouse.interactions.erase import count_before
    from inhouse.monitoring.erasure import held

    with context.app.database.read() as unit:
        if subject is not None:
            has = held(unit, subject)
            what = (
                f"{_count(has.interactions, 'call')} and {_count(has.imported, 'imported example')}"
            )
            return f"Erase {what} of {subject}, and all that was made of them?"
        count = count_before(unit, parse_time(before or ""))
    return f"Erase the content of all calls before {before} ({count:,}), and what was made of them?"


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _request(context: Context, subject: str | None, before: str | None) -> JobRecord:
    from inhouse.cli.times import parse_time
    from inhouse.monitoring.erasure import request_before, request_subject

    actor, at = context.actor, context.app.clock.now()
    with context.app.database.write() as unit:
        if subject is not None:
            return request_subject(unit, subject, actor=actor, at=at)
        return request_before(unit, parse_time(before or ""), actor=actor, at=at)


def _run(context: Context, job: JobRecord) -> tuple[JobRecord, ErasureRecord | None]:
    from inhouse.cli.output import counting
    from inhouse.cli.work_here import work_here
    from inhouse.monitoring.erasure import get

    with counting("erased") as told:
        done = work_here(context, job.id, lambda progress: told(int(progress.done)))
    with context.app.database.read() as unit:
        return done, get(unit, job.id)


def _print(job: JobRecord, record: ErasureRecord | None) -> None:
    if job.error is not None or record is None:
        typer.echo(f"error: {job.error or f'job {job.id} is {job.status}'}", err=True)
        return
    typer.echo(_words(record))
    result = job.result or {}
    if result.get("running"):
        typer.echo(f"had read some of it before: training {', '.join(result['running'])}")
    if result.get("log_emptied") is False:
        typer.echo("the database's log could not be emptied: something reads for long")


def _words(record: ErasureRecord) -> str:
    task = f"{record.task} " if record.task else ""
    whose = record.subject or f"{task}before {record.before:%Y-%m-%d %H:%M:%S}"
    counts = ", ".join(f"{name} {count:,}" for name, count in record.counts.items())
    versions = ", ".join(record.versions) or "no version"
    state = "" if record.finished_at else " (not finished)"
    return f"erased {whose}{state}: {counts}; trained from some of it: {versions}"
