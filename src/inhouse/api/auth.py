"""Who is asking, for the hot routes and the control routes alike: a key as a bearer token, or this
machine while no key exists (``gateway.access``)."""

from __future__ import annotations

from inhouse.api.body import Scope, header
from inhouse.core.errors import Unauthenticated
from inhouse.gateway.access import MAKE_ONE, Principal, check_local, is_loopback
from inhouse.gateway.keys import KeyRing, Permission

__all__ = ["Access", "Principal", "is_loopback"]

_MOST_KNOWN = 10_000


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
            peer = scope.get("client")
            check_local(peer and peer[0], header(scope, b"host") or "", header(scope, b"origin"))
            return Principal(None)
        presented = header(scope, b"authorization")
        if presented is None:
            raise Unauthenticated("this server wants a key", hint=MAKE_ONE)
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
            raise Unauthenticated("the authorization header holds no bearer token", hint=MAKE_ONE)
        key = self._keys.find(key_text.strip())
        key.require(permission)
        return Principal(key)
