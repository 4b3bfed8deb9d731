"""An SMTP server on a loopback socket that keeps what it gets: with TLS, logins and refusals."""

from __future__ import annotations

import base64
import socketserver
import ssl
import threading
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Final, Literal, Self

_LONGEST_S: Final = 30.0


@dataclass(slots=True)
class Mail:
    """A message as it came: its envelope, who had logged in, and whether it was encrypted."""

    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    user: str = ""
    encrypted: bool = False
    message: EmailMessage = field(default_factory=EmailMessage)


class SmtpServer:
    """``tls``: a server context; ``mode`` says when it is used. ``users``: name and password of who
    may log in; then nobody else may send. ``refuses``: recipients that it does not take.
    ``farewell``: what it answers to QUIT."""

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        mode: Literal["starttls", "tls"] = "starttls",
        users: Collection[tuple[str, str]] = (),
        refuses: Collection[str] = (),
        farewell: str = "221 bye",
    ) -> None:
        self.farewell = farewell
        self.tls, self.mode = tls, mode
        self.users, self.refuses = set(users), set(refuses)
        self.mails: list[Mail] = []
        owner = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(OSError, ssl.SSLError):
                    _Session(owner, self).run()

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Session:
    """One connection."""

    def __init__(self, owner: SmtpServer, handler: socketserver.StreamRequestHandler) -> None:
        self._owner = owner
        self._socket = handler.request
        self._socket.settimeout(_LONGEST_S)
        self._mail = Mail()
        if owner.tls is not None and owner.mode == "tls":
            self._encrypt()
        self._file = self._socket.makefile("rb")

    def run(self) -> None:
        self._say("220 test")
        verbs: dict[str, Callable[[str], None]] = {
            "EHLO": self._ehlo,
            "AUTH": self._auth,
            "MAIL": self._from,
            "RCPT": self._to,
            "DATA": self._data,
            "STARTTLS": self._starttls,
        }
        while line := self._file.readline():
            verb, _, rest = line.decode().strip().partition(" ")
            if verb.upper() == "QUIT":
                self._say(self._owner.farewell)
                return
            verbs.get(verb.upper(), self._other)(rest)

    def _other(self, _: str) -> None:
        self._say("250 ok")

    def _ehlo(self, _: str) -> None:
        offered = ["test"]
        if self._owner.tls is not None and not self._mail.encrypted:
            offered.append("STARTTLS")
        if self._owner.users:
            offered.append("AUTH PLAIN")
        for one in offered[:-1]:
            self._say(f"250-{one}")
        self._say(f"250 {offered[-1]}")

    def _starttls(self, _: str) -> None:
        self._say("220 go")
        self._encrypt()
        self._file = self._socket.makefile("rb")

    def _auth(self, rest: str) -> None:
        _, user, password = base64.b64decode(rest.split()[1]).decode().split("\0")
        if (user, password) not in self._owner.users:
            self._say("535 no such user")
            return
        self._mail.user = user
        self._say("235 welcome")

    def _from(self, rest: str) -> None:
        if self._owner.users and not self._mail.user:
            self._say("530 log in first")
            return
        self._mail.sender = _address(rest)
        self._say("250 ok")

    def _to(self, rest: str) -> None:
        address = _address(rest)
        if address in self._owner.refuses:
            self._say("550 unknown")
            return
        self._mail.recipients.append(address)
        self._say("250 ok")

    def _data(self, _: str) -> None:
        self._say("354 go on")
        lines = []
        while (line := self._file.readline()) not in (b".\r\n", b""):
            lines.append(line.removeprefix(b"."))
        parsed = message_from_bytes(b"".join(lines), policy=policy.default)
        self._mail.message = parsed
        self._owner.mails.append(self._mail)
        self._say("250 taken")

    def _encrypt(self) -> None:
        if self._owner.tls is None:
            raise OSError("no certificate")
        self._socket = self._owner.tls.wrap_socket(self._socket, server_side=True)
        self._mail.encrypted = True

    def _say(self, line: str) -> None:
        self._socket.sendall(f"{line}\r\n".encode())


def _address(rest: str) -> str:
    return rest.partition("<")[2].partition(">")[0]
