"""Notices as JSON, posted to an address."""

from __future__ import annotations

import hmac
import json
import time
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from inhouse.notify.base import NotDelivered, Notice

SIGNATURE: Final = "x-inhouse-signature"
PAUSES_S: Final = (0.5, 2.0)
"""Between the tries; there is one try more."""
_AGAIN: Final = frozenset({408, 425, 429})


class WebhookChannel:
    """Posts to ``url``, up to three times: what does not answer within ``timeout_s``, breaks off,
    or answers 5xx, 408, 425 or 429 is asked again. Any 2xx is taken for an answer; redirections are
    not followed. With a ``secret``, ``x-inhouse-signature`` is ``sha256=`` and the HMAC-SHA256 of
    the body in hexadecimal."""

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        timeout_s: float = 10.0,
        pause: Callable[[float], object] = time.sleep,
    ) -> None:
        self._parts = urlsplit(url)
        self._secret = secret.encode()
        self._timeout_s = timeout_s
        self._pause = pause

    def send(self, notice: Notice) -> None:
        """Raises NotDelivered with the reason of the last try; it never holds the address."""
        body = json.dumps(notice.as_json(), ensure_ascii=False).encode()
        for pause in (*PAUSES_S, None):
            try:
                status = self._post(body)
            except (OSError, HTTPException, ValueError) as error:
                reason = str(error) or type(error).__name__
            else:
                if 200 <= status < 300:
                    return
                reason = f"it answered {status}"
                if status < 500 and status not in _AGAIN:
                    raise NotDelivered(reason)
            if pause is None:
                raise NotDelivered(f"{reason} ({len(PAUSES_S) + 1} tries)")
            self._pause(pause)

    def _post(self, body: bytes) -> int:
        headers = {"content-type": "application/json", "user-agent": "inhouse"}
        if self._secret:
            digest = hmac.new(self._secret, body, "sha256").hexdigest()
            headers[SIGNATURE] = f"sha256={digest}"
        make = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        host, port = self._parts.hostname or "", self._parts.port
        path = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        with closing(make(host, port, timeout=self._timeout_s)) as connection:
            connection.request("POST", path, body, headers)
            return connection.getresponse().status
