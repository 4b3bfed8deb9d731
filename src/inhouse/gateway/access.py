"""Who is asking, for both edges: the HTTP API and the pages.

While no key exists, this machine may do everything and nobody else anything: the peer is a loopback
address, and neither the host that was asked for nor the page that asks may be another one, so that
a web page cannot reach in through the browser of whoever runs the server.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from inhouse.core.errors import Denied, Unauthenticated
from inhouse.gateway.keys import GRANTS, Key, Permission

MAKE_ONE: Final = "make a key with `inhouse keys create` and send it as a bearer token"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: the holder of a key, or (None) somebody on this machine while none exists."""

    key: Key | None

    @property
    def key_id(self) -> str | None:
        return None if self.key is None else self.key.id

    @property
    def actor(self) -> str:
        """The name under which decisions are kept."""
        return "local" if self.key is None else self.key.name

    @property
    def role(self) -> str:
        """The role of the key, "everything" for this machine without one."""
        return "everything" if self.key is None else self.key.role

    def may(self, permission: Permission) -> bool:
        """Whether the role grants it."""
        return self.key is None or permission in GRANTS[self.key.role]

    def require(self, permission: Permission) -> None:
        """Raise Denied (code ``role``) unless the role grants it."""
        if self.key is not None:
            self.key.require(permission)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_local(peer: str | None, host: str, origin: str | None) -> None:
    """That a request without a key comes from this machine: from its address, for its name, and
    from none but our own pages. Raises Unauthenticated, and Denied (code ``foreign-origin``)."""
    if peer is None or not is_loopback(peer):
        raise Unauthenticated("without a key only this machine may ask", hint=MAKE_ONE)
    if not _is_same_site(host, origin):
        raise Denied(
            "the request comes from a foreign page, or for a foreign host",
            code="foreign-origin",
            hint=MAKE_ONE,
        )


@lru_cache(maxsize=256)
def _is_same_site(host: str, origin: str | None) -> bool:
    """Whether the host asked for is this machine, and the page that asks (if one does) is ours."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) and origin in (None, f"http://{host}")
