"""Settings in, channels out."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import cast

from inhouse.core.errors import Invalid
from inhouse.notify.base import Notifier
from inhouse.notify.log import LogChannel
from inhouse.notify.mail import EmailChannel
from inhouse.notify.webhook import WebhookChannel
from inhouse.settings import ChannelSettings, NotifySettings


def open_channels(settings: NotifySettings) -> Mapping[str, Notifier]:
    """The declared channels by name; one named ``log`` when none is declared.

    Raises Invalid: ``missing-extra`` without the package that a kind needs, ``apprise-url``.
    """
    if not settings.channels:
        return {"log": LogChannel()}
    return {name: _open(name, channel) for name, channel in settings.channels.items()}


def _open(name: str, channel: ChannelSettings) -> Notifier:
    match channel.kind:
        case "log":
            return LogChannel()
        case "webhook":
            return WebhookChannel(
                channel.url.get_secret_value(),
                secret=channel.secret.get_secret_value(),
                timeout_s=channel.timeout_s,
            )
        case "email":
            return EmailChannel(
                host=channel.host,
                port=channel.port,
                tls=channel.tls,
                user=channel.user,
                password=channel.password.get_secret_value(),
                sender=channel.from_,
                to=channel.to,
                timeout_s=channel.timeout_s,
            )
        case "apprise":
            return _apprise(name, channel.url.get_secret_value())


def _apprise(name: str, url: str) -> Notifier:
    try:
        module = import_module("inhouse.notify.apprise")
    except ModuleNotFoundError as error:
        if error.name != "apprise":
            raise
        raise Invalid(
            f"notify.channels.{name}: Apprise is not installed",
            code="missing-extra",
            hint="pip install 'inhouse[notify]'",
        ) from None
    try:
        return cast("Notifier", module.AppriseChannel(url))
    except Invalid as error:
        raise Invalid(f"notify.channels.{name}: {error.message}", code=error.code) from None
