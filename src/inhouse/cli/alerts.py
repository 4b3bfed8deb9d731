"""``inhouse alerts`` and ``inhouse notify``: what somebody should look at, and who hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from inhouse.monitoring.alert_records import AlertRecord

app = typer.Typer(
    name="alerts", help="What somebody should look at, and who was told.", no_args_is_help=True
)
notify = typer.Typer(name="notify", help="Channels that tell people.", no_args_is_help=True)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command("list")
def list_all(
    only_open: Annotated[
        bool, typer.Option("--open", help="Only those that are not over.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Alerts, open ones first. Running servers and workers keep them up to date."""
    from inhouse.cli.context import open_context
    from inhouse.monitoring import alert_records as records

    context = open_context()
    with context.app.database.read() as unit:
        found = records.list_alerts(unit, open_only=only_open, limit=limit)
    if as_json:
        context.print_json([_plain(alert) for alert in found])
        return
    for alert in found:
        state = "open" if alert.is_open else "over"
        typer.echo(
            f"{state}  {alert.level:<4}  {alert.since:%Y-%m-%d %H:%M}  {alert.code:<20} "
            f"{alert.title}"
        )
    if not found:
        typer.echo("no alerts")


@app.command()
def show(
    code: Annotated[str, typer.Argument(help="Code, such as breaker-open.")],
    about: Annotated[
        str | None, typer.Argument(help="What it is about; every one of the code when left out.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Alerts of a code in full: since when, told when, and what channels said."""
    from inhouse.cli.context import open_context
    from inhouse.core.errors import NotFound
    from inhouse.monitoring import alert_records as records

    context = open_context()
    with context.app.database.read() as unit:
        if about is not None:
            found = [records.get(unit, code, about)]
        else:
            found = records.list_alerts(unit, code=code, limit=1000)
    if not found:
        raise NotFound(
            f"there is no alert {code}", code="alert-not-found", hint="inhouse alerts list"
        )
    if as_json:
        context.print_json([_plain(alert) for alert in found])
        return
    for alert in found:
        typer.echo("\n".join(_lines(alert)))


@notify.command("test")
def send_test(
    channel: Annotated[
        str | None, typer.Argument(help="Only this channel of inhouse.toml.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a test notice through every channel, or one. Exit 1 when one fails."""
    import socket

    from inhouse.cli.context import open_context
    from inhouse.cli.logs import configure_logs
    from inhouse.core.clock import SystemClock
    from inhouse.core.errors import NotFound
    from inhouse.notify.base import NotDelivered, trial
    from inhouse.notify.channels import open_channels
    from inhouse.settings import load_settings

    context = open_context()
    configure_logs()
    channels = open_channels(load_settings(context.folder).notify)
    if channel is not None and channel not in channels:
        raise NotFound(
            f"there is no channel {channel!r}",
            code="channel-not-found",
            hint="[notify.channels] of inhouse.toml has: " + ", ".join(channels),
        )
    notice = trial(at=SystemClock().now(), source=socket.gethostname())
    errors: dict[str, str | None] = {}
    for name in [channel] if channel is not None else channels:
        try:
            channels[name].send(notice)
        except NotDelivered as error:
            errors[name] = error.message
        else:
            errors[name] = None
        if not as_json:
            told = "delivered" if errors[name] is None else f"failed: {errors[name]}"
            typer.echo(f"{name:<16} {told}")
    if as_json:
        context.print_json(errors)
    if any(errors.values()):
        raise typer.Exit(1)


def _plain(alert: AlertRecord) -> dict[str, Any]:
    return {name: getattr(alert, name) for name in type(alert).__slots__}


def _lines(alert: AlertRecord) -> list[str]:
    told = f"{alert.told_at:%Y-%m-%d %H:%M:%S} UTC" if alert.told_at else "never"
    lines = [
        alert.title,
        f"  {alert.text}",
        f"  what     {' '.join(filter(None, (alert.code, alert.about)))}, {alert.level}",
        f"  since    {alert.since:%Y-%m-%d %H:%M:%S} UTC, began {alert.raised}x, "
        f"seen {alert.seen_at:%Y-%m-%d %H:%M:%S} UTC",
    ]
    if alert.ended_at:
        lines.append(f"  over     {alert.ended_at:%Y-%m-%d %H:%M:%S} UTC")
    lines.append(f"  told     {told}")
    for name, error in (alert.channels or {}).items():
        lines.append(f"  channel  {name}: {error or 'heard it'}")
    return [*lines, f"  to do    docs/runbooks/{alert.code}.md"]
