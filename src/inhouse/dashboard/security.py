"""What keeps foreign pages out: headers, the token of forms, addresses to go on to.

A form is taken when the browser says that one of our own pages sent it, and when it holds a token
that only such a page can know: an HMAC of the session (or, without keys, of this installation).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

from inhouse.core.errors import Denied

CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
CONTENT_POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "content-security-policy": CONTENT_POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
)
"""Of every page and every static file. With ``no-referrer`` browsers would call the origin of our
own forms ``null``."""
_OWN: Final = ("same-origin", "none")


def csrf_token(secret: bytes, session: str | None) -> str:
    """The token of the forms of a session; None: of somebody without one."""
    about = b"pages:anybody" if session is None else b"pages:session:" + session.encode()
    return hmac.new(secret, about, sha256).hexdigest()


def check_form(headers: Mapping[str, str], sent: str, expected: str) -> None:
    """That a form comes from one of our own pages. Raises Denied (codes ``foreign-origin`` and
    ``form-token``)."""
    if not comes_from_here(headers):
        raise Denied(
            "the form was sent by a foreign page",
            code="foreign-origin",
            hint="open the page at this server's own address and send it from there",
        )
    if not hmac.compare_digest(sent.encode("utf-8", "surrogatepass"), expected.encode()):
        raise Denied(
            "the form is out of date, or none of ours",
            code="form-token",
            hint="reload the page and send the form again",
        )


def comes_from_here(headers: Mapping[str, str]) -> bool:
    """Whether the browser names no other site as the sender (``Sec-Fetch-Site``, ``Origin``)."""
    if headers.get("sec-fetch-site", "none") not in _OWN:
        return False
    origin = headers.get("origin")
    return origin is None or _site(origin) == headers.get("host", "").lower()


def is_encrypted(scheme: str, headers: Mapping[str, str]) -> bool:
    """Whether the browser speaks TLS, to us or to a proxy in front: then cookies are Secure."""
    return scheme == "https" or headers.get("origin", "").startswith("https://")


def safe_path(path: str) -> str:
    """A path on this server to go on to; ``/`` for anything that could lead elsewhere."""
    is_plain = path.isprintable() and "\\" not in path
    return path if is_plain and path.startswith("/") and not path.startswith("//") else "/"


def path_of(url: str) -> str:
    """Path and query of an address; ``/`` for one that cannot be read."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    return safe_path(f"{parts.path}?{parts.query}" if parts.query else parts.path)


def _site(origin: str) -> str:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""
