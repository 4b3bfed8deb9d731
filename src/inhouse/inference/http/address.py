"""Where requests go: a base URL taken apart once, requests as bytes, and new connections to it."""

from __future__ import annotations

import asyncio
import functools
import ssl
from collections.abc import Callable, Mapping

from inhouse.core.errors import BackendError, Invalid
from inhouse.core.urls import PORTS, take_apart
from inhouse.inference.http.connection import Connection

HANDSHAKE_S = 10.0


class Address:
    """One server and the path below which it is spoken to.

    ``host`` is a name in lower-case ASCII, or an IP address without brackets. Raises Invalid (code
    ``upstream-url``) for what is no such URL.
    """

    def __init__(self, base_url: str, *, verify: ssl.SSLContext | None = None) -> None:
        try:
            url = take_apart(base_url)
        except ValueError as error:
            raise Invalid(f"the base_url {error}", code="upstream-url") from None
        self.host, self.port, self._secure = url.host, url.port, url.scheme == "https"
        self._verify = verify
        name = f"[{self.host}]" if ":" in self.host else self.host
        standard = self.port == PORTS[url.scheme]
        self.authority = name if standard else f"{name}:{self.port}"
        self._prefix = url.path.rstrip("/")
        query = f"?{url.query}" if url.query else ""
        self._rest = f"{query} HTTP/1.1\r\nhost: {self.authority}\r\n"
        self._heads: dict[tuple[str, str], tuple[Mapping[str, str], bytes]] = {}

    @functools.cached_property
    def _tls(self) -> ssl.SSLContext | None:
        if not self._secure:
            return None
        return self._verify or ssl.create_default_context()

    def encode(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> bytes:
        """The request as it goes over the wire; the same ``headers`` object has the same headers
        every time. Raises Invalid (code ``upstream-header``) when method, path or a header would
        break out of its line or is not latin-1."""
        known = self._heads.get((method, path))
        if known is None or known[0] is not headers:
            known = self._heads[method, path] = headers, self._head(method, path, headers)
        if body or method != "GET":
            return b"%bcontent-length: %d\r\n\r\n%b" % (known[1], len(body), body)
        return b"%b\r\n" % known[1]

    def _head(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        parts = [f"{method} {self._prefix}{path}{self._rest}"]
        parts += [f"{name}: {value}\r\n" for name, value in headers.items()]
        head = "".join(parts)
        lines = len(parts) + 1
        if not head.count("\r\n") == head.count("\n") == head.count("\r") == lines:
            raise Invalid("a header or path holds a line break", code="upstream-header")
        try:
            return head.encode("latin-1")
        except UnicodeEncodeError:
            raise Invalid("a header or path is not latin-1", code="upstream-header") from None

    async def connect(self, max_bytes: int, on_lost: Callable[[Connection], None]) -> Connection:
        """A new connection. Raises BackendError: ``upstream-tls`` when the server's certificate is
        not trusted, else ``upstream-connect``, which is retryable."""
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(
                lambda: Connection(max_bytes, on_lost),
                self.host,
                self.port,
                ssl=self._tls,
                server_hostname=self.host if self._secure else None,
                ssl_handshake_timeout=HANDSHAKE_S if self._secure else None,
            )
        except ssl.SSLCertVerificationError as error:
            reason = error.verify_message or "certificate not trusted"
            raise BackendError(f"{self.authority}: {reason}", code="upstream-tls") from None
        except OSError as error:
            reason = error.strerror or str(error) or type(error).__name__
            raise BackendError(
                f"cannot connect to {self.authority}: {reason}",
                code="upstream-connect",
                hint="is the server running, and is base_url right?",
                retryable=True,
            ) from None
        return connection
