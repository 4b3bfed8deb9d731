"""``[notify]``: who hears of alerts."""

from __future__ import annotations

from email.utils import getaddresses
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator

from inhouse.core.urls import take_apart
from inhouse.settings.section import Name, Section


class ChannelSettings(Section):
    """Where alerts are told. A channel has the fields of its kind and no others."""

    kind: Literal["log", "webhook", "email", "apprise"]
    """`log`: a line in the log. `webhook`: a POST with JSON. `email`: by an SMTP server. `apprise`:
    chats, phones and whatever else Apprise reaches; needs the extra `notify`."""
    url: SecretStr = SecretStr("")
    """Of a webhook: its address. Of apprise: an address as Apprise writes it."""
    secret: SecretStr = SecretStr("")
    """Of a webhook: signs the body (HMAC-SHA256, in `x-inhouse-signature`)."""
    host: str = ""
    """Of email: the SMTP server."""
    port: int = Field(0, ge=0, le=65535)
    """Of email: its port; 0 is 465 with `tls`, 587 with `starttls` and 25 with `none`."""
    tls: Literal["starttls", "tls", "none"] = "starttls"
    """Of email: encrypt after the greeting, from the first byte, or not at all."""
    user: str = ""
    """Of email: who logs in; nobody when empty."""
    password: SecretStr = SecretStr("")
    """Of email: the password of `user`."""
    from_: str = Field("", alias="from")
    """Of email: the sender's address."""
    to: tuple[str, ...] = ()
    """Of email: the addresses that get it."""
    timeout_s: float = Field(10.0, gt=0, le=30)
    """Of webhook and email: longest wait for the other side, in seconds."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        needed, allowed = _CHANNEL_FIELDS[self.kind]
        fields = {info.alias or name: name for name, info in type(self).model_fields.items()}
        set_ = {key for key, name in fields.items() if name in self.model_fields_set}
        if odd := sorted(set_ - {"kind"} - needed - allowed):
            raise ValueError(f"a channel of kind {self.kind} has no {odd[0]}")
        values = {key: getattr(self, fields[key]) for key in needed}
        bare = {
            k: v.get_secret_value() if isinstance(v, SecretStr) else v for k, v in values.items()
        }
        if missing := sorted(key for key, value in bare.items() if not value):
            raise ValueError(f"a channel of kind {self.kind} needs {missing[0]}")
        if self.kind == "webhook":
            _check_url(str(bare["url"]))
        for address in (self.from_, *self.to) if self.kind == "email" else ():
            _check_address(address)
        if not (self.user + self.password.get_secret_value()).isascii():
            raise ValueError("user and password of email take ASCII only")
        return self


def _check_url(url: str) -> None:
    try:
        take_apart(url)
    except ValueError as error:
        raise ValueError(f"url of a webhook {error}") from None


def _check_address(address: str) -> None:
    """One address of e-mail, with or without a name. A server takes a list of them in one text for
    the first alone."""
    found = [bare for _, bare in getaddresses([address])]
    name, _, host = found[0].rpartition("@")
    if len(found) != 1 or not (name and host) or " " in found[0] or not address.isprintable():
        raise ValueError(f"{address!r} is no address of e-mail")


_CHANNEL_FIELDS = {
    "log": (set[str](), set[str]()),
    "webhook": ({"url"}, {"secret", "timeout_s"}),
    "email": ({"host", "from", "to"}, {"port", "tls", "user", "password", "timeout_s"}),
    "apprise": ({"url"}, set[str]()),
}


class NotifySettings(Section):
    """Who hears of alerts. Without a channel they go to the log."""

    levels: tuple[Literal["bad", "warn", "info"], ...] = ("bad", "warn")
    """What is told; everything else is only listed (`inhouse alerts list`)."""
    cooldown_s: float = Field(3600.0, ge=1, le=7 * 86_400)
    """Seconds until an alert is told again: of level `bad` while it lasts, others only after they
    had ended."""
    channels: dict[Name, ChannelSettings] = Field({})
