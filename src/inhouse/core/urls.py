"""Addresses of servers, as people write them."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import SplitResult, urlsplit

PORTS: Final = {"http": 80, "https": 443}


class Url(NamedTuple):
    """An address in its parts. ``host`` is a name in lower-case ASCII, or an IP address without
    brackets; ``path`` and ``query`` stand as they were written, without ``?``."""

    scheme: str
    host: str
    port: int
    path: str
    query: str


def take_apart(address: str) -> Url:
    """An address of http or https. Raises ValueError for what is none, in words that never repeat
    it: it may hold a password."""
    if not address.isprintable() or " " in address:
        raise ValueError("holds a space or a line end")
    try:
        url = urlsplit(address)
    except ValueError:
        raise ValueError("is no URL") from None
    if url.scheme not in PORTS:
        raise ValueError("does not begin with http:// or https://")
    if url.username is not None or url.password is not None:
        raise ValueError("holds a name or password")
    if "#" in address:
        raise ValueError("holds a '#'")
    if not (url.path + url.query).isascii():
        raise ValueError("holds a character behind its host that is not ASCII; write it as %XX")
    host = _host(url.hostname or "")
    return Url(url.scheme, host, _port(url) or PORTS[url.scheme], url.path, url.query)


def _host(name: str) -> str:
    if not name:
        raise ValueError("names no host")
    try:
        return name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        raise ValueError("names a host that there cannot be") from None


def _port(url: SplitResult) -> int | None:
    try:
        return url.port
    except ValueError:
        raise ValueError("has a port that there cannot be") from None
