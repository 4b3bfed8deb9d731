"""What a page tells once after an act, on its way through a cookie: words, and how to undo it.

The cookie is sealed for the session, so that nobody else puts words or a button into a page.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

import msgspec

_BETWEEN: Final = "."


class Undo(msgspec.Struct, frozen=True):
    """The form of an act that is the exact inverse: where it is sent, and its fields. It is sent as
    any form, so role and token are checked; a field says what was seen, so that it is refused when
    something happened meanwhile."""

    path: str
    fields: Mapping[str, str]


class Toast(msgspec.Struct, frozen=True):
    """Words, and the way back where there is a safe one."""

    text: str
    undo: Undo | None = None


def seal(secret: bytes, session: str | None, toast: Toast) -> str:
    """A toast as the value of a cookie of that session."""
    body = urlsafe_b64encode(msgspec.json.encode(toast)).decode()
    return body + _BETWEEN + _seal(secret, session, body)


def unseal(secret: bytes, session: str | None, value: str) -> Toast | None:
    """The toast in a cookie; None where there is none, or none that we sealed for the session."""
    body, _, sealed = value.rpartition(_BETWEEN)
    expected = _seal(secret, session, body)
    if not body or not hmac.compare_digest(sealed.encode(), expected.encode()):
        return None
    return msgspec.json.decode(urlsafe_b64decode(body), type=Toast)


def _seal(secret: bytes, session: str | None, body: str) -> str:
    about = f"toast:{session or ''}:{body}".encode()
    return hmac.new(secret, about, sha256).hexdigest()
