"""Notices by e-mail."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Collection, Sequence
from contextlib import suppress
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Final, Literal

from inhouse.notify.base import DeliveredInPart, NotDelivered, Notice

Tls = Literal["starttls", "tls", "none"]
_PORTS: Final = {"tls": 465, "starttls": 587, "none": 25}


class EmailChannel:
    """Hands one message for all of ``to`` to an SMTP server. ``port`` 0: the usual one for ``tls``.
    Without a ``user`` nobody logs in. The server's certificate is checked against ``context``, by
    default the machine's authorities."""

    def __init__(
        self,
        *,
        host: str,
        sender: str,
        to: Sequence[str],
        port: int = 0,
        tls: Tls = "starttls",
        user: str = "",
        password: str = "",
        timeout_s: float = 10.0,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._address = host, port or _PORTS[tls]
        self._sender, self._to = sender, tuple(to)
        self._tls = tls
        self._login = user, password
        self._timeout_s = timeout_s
        self._context = context or ssl.create_default_context()

    def send(self, notice: Notice) -> None:
        """Raises NotDelivered, and DeliveredInPart when the server takes it for some of the
        addresses only."""
        message = self._message(notice)
        try:
            refused = self._hand_over(message)
        except (OSError, smtplib.SMTPException, ValueError) as error:
            raise NotDelivered(_words(error)) from None
        if refused:
            raise DeliveredInPart("the server refused " + ", ".join(sorted(refused)))

    def _hand_over(self, message: EmailMessage) -> Collection[str]:
        """The addresses that were refused. Once the server has it, nothing it says at the end
        matters."""
        server = self._connect()
        try:
            if self._tls == "starttls":
                server.starttls(context=self._context)
            if self._login[0]:
                server.login(*self._login)
            return server.send_message(message, self._sender, self._to)
        finally:
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
            server.close()

    def _connect(self) -> smtplib.SMTP:
        host, port = self._address
        if self._tls == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=self._timeout_s, context=self._context)
        return smtplib.SMTP(host, port, timeout=self._timeout_s)

    def _message(self, notice: Notice) -> EmailMessage:
        message = EmailMessage()
        message["From"], message["To"] = self._sender, ", ".join(self._to)
        message["Subject"] = notice.subject
        message["Date"] = format_datetime(notice.at)
        message["Message-ID"] = make_msgid(notice.id, domain=self._sender.rpartition("@")[2])
        message["Auto-Submitted"] = "auto-generated"
        message.set_content(notice.body)
        return message


def _words(error: Exception) -> str:
    match error:
        case smtplib.SMTPRecipientsRefused():
            return "the server refused " + ", ".join(sorted(error.recipients))
        case smtplib.SMTPResponseException():
            said = error.smtp_error
            text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
            return f"the server said {error.smtp_code} {text}"
        case _:
            return str(error) or type(error).__name__
