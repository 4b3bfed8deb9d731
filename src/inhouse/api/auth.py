"""Who is asking, for the hot routes and the control routes alike.

With keys, a request carries one as a bearer token. While no key exists, this machine may do
everything and nobody else anything: the peer is a loopback address, and neither the host that was
asked for nor the page that asks may be another one, so that a web page cannot reach in through the
browser of whoever runs the server.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from inhouse.api.body import Scope, header
from inhouse.core.errors import Denied, Unauthenticated
from inhouse.gateway.keys import Key, KeyRing, Permission

_MOST_KNOWN = 10_000
_MAKE_ONE = "make a key with `inhouse keys create` and send it as a bearer token"


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


class Access:
    """Tells who is asking and whether they may."""

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._known: dict[tuple[str, Permission], Principal] = {}
        self._known_in: object = None

    def require(self, scope: Scope, permission: Permission) -> Principal:
        """The principal of a request. Raises Unauthenticated (no key, or an unknown or revoked
        one) and Denied (a key whose role may not, or a foreign page)."""
        if not len(self._keys):
            _check_local(scope)
            return Principal(None)
        presented = header(scope, b"authorization")
        if presented is None:
            raise Unauthenticated("this server wants a key", hint=_MAKE_ONE)
        keys = self._keys.mirror.value
        if self._known_in is not keys or len(self._known) >= _MOST_KNOWN:
            self._known, self._known_in = {}, keys
        who = self._known.get((presented, permission))
        if who is None:
            who = self._known[presented, permission] = self._find(presented, permission)
        return who

    def _find(self, presented: str, permission: Permission) -> Principal:
        kind, _, key_text = presented.partition(" ")
        if kind.lower() != "bearer" or not key_text:
            raise Unauthenticated("the authorization header holds no bearer token", hint=_MAKE_ONE)
        key = self._keys.find(key_text.strip())
        key.require(permission)
        return Principal(key)


@lru_cache(maxsize=256)
def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_local(scope: Scope) -> None:
    peer = scope.get("client")
    if peer is None or not is_loopback(peer[0]):
        raise Unauthenticated("without a key only this machine may ask", hint=_MAKE_ONE)
    if not _is_same_site(header(scope, b"host") or "", header(scope, b"origin")):
        raise Denied(
            "the request comes from a foreign page, or for a foreign host",
            code="foreign-origin",
            hint=_MAKE_ONE,
        )


@lru_cache(maxsize=256)
def _is_same_site(host: str, origin: str | None) -> bool:
    """Whether the host asked for is this machine, and the page that asks (if one does) is ours."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    return is_loopback(name) and origin in (None, f"http://{host}")
