"""``inhouse task stats``: what each model of a task came to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.monitoring.figures import ModelFigures, Score, TaskFigures


def stats(
    task: Annotated[str | None, typer.Argument(help="Only this task.")] = None,
    window: Annotated[str, typer.Option(help="24h, 7d or 30d, in whole hours.")] = "7d",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Calls, success, scores, latency, cost and share of every model of a task, or of all tasks."""
    from inhouse.cli.context import open_context
    from inhouse.cli.times import parse_period
    from inhouse.monitoring.figures import figures
    from inhouse.monitoring.overview import hours_of

    period = parse_period(window)
    context = open_context()
    catalog = context.app.catalog
    specs = list(catalog.all()) if task is None else [catalog.get(task)]
    hours = hours_of(period, context.app.clock.now())
    with context.app.database.read() as unit:
        found = [figures(unit, spec, hours) for spec in specs]
    if as_json:
        rows = [_plain(one) for one in found]
        context.print_json(rows if task is None else rows[0])
        return
    for one in found:
        _print(one)


def _plain(one: TaskFigures) -> dict[str, Any]:
    from inhouse.client.figures import TaskFigures as Model

    return Model.model_validate(one).model_dump(mode="json")


def _print(found: TaskFigures) -> None:
    total = found.total
    typer.echo(
        f"{found.task}: {total.calls:,} calls, {total.answered:,} answered, "
        f"{found.since:%Y-%m-%d %H:%M} to {found.until:%Y-%m-%d %H:%M} UTC"
    )
    if not found.models:
        return
    typer.echo(
        f"  {'model':<26}{'calls':>9}{'share':>8}{'success':>9}{'outcomes':>16}"
        f"{'corrections':>16}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}{'cost':>10}"
    )
    for model in found.models:
        typer.echo(_row(model))
    newest = "" if found.is_complete else f" of the newest {found.looked_at:,} calls"
    typer.echo(
        f"  latencies within 12 %; success{newest}; scores with (calls) that they are made of: "
        "outcomes were given without knowing the model, corrections were chosen by people"
    )


def _row(model: ModelFigures) -> str:
    traffic, success = model.traffic, model.success
    times = "".join(
        f"{'–' if ms is None else f'{ms:,.1f}':>9}"
        for ms in (traffic.p50_ms, traffic.p95_ms, traffic.p99_ms)
    )
    rate = "–" if success is None else f"{success.share:.1%}"
    return (
        f"  {model.reference:<26}{traffic.calls:>9,}{model.share:>8.1%}{rate:>9}"
        f"{_score(model.outcomes):>16}{_score(model.corrections):>16}{times}{traffic.cost:>10.4g}"
    )


def _score(score: Score | None) -> str:
    return "–" if score is None else f"{score.mean:.3f} ({score.items:,})"
