"""A browser's manners without a browser: cookies, forms, and asking for HTML. For tests of pages.

visitor = Visitor(server.url)
visitor.sign_in(key)
answer = visitor.post("/settings/reload", {"csrf": visitor.token()})
"""

from __future__ import annotations

import http.client
import re
from http.cookies import SimpleCookie
from typing import Final, NamedTuple
from urllib.parse import urlencode

FORM: Final = "application/x-www-form-urlencoded"
HTML: Final = "text/html,application/xhtml+xml"


class Answer(NamedTuple):
    """What a server answered; ``cookies`` are those that it set."""

    status: int
    headers: dict[str, str]
    text: str
    cookies: SimpleCookie


class Visitor:
    """Somebody who looks at the pages of a server."""

    def __init__(self, url: str) -> None:
        self.place = url.removeprefix("http://")
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: str = "", **headers: str) -> Answer:
        sent = {"accept": HTML} | {n.replace("_", "-"): v for n, v in headers.items()}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection = http.client.HTTPConnection(self.place, timeout=30)
        connection.request(method, path, body.encode(), sent)
        response = connection.getresponse()
        content = response.read().decode()
        set_now: SimpleCookie = SimpleCookie()
        for value in response.headers.get_all("set-cookie", []):
            set_now.load(value)
        for name, morsel in set_now.items():
            if morsel.value and morsel["max-age"] != "0":
                self.cookies[name] = morsel.value
            else:
                self.cookies.pop(name, None)
        named = {name.lower(): value for name, value in response.getheaders()}
        connection.close()
        return Answer(response.status, named, content, set_now)

    def get(self, path: str, **headers: str) -> Answer:
        return self.ask("GET", path, **headers)

    def post(self, path: str, fields: dict[str, str], **headers: str) -> Answer:
        headers.setdefault("content_type", FORM)
        return self.ask("POST", path, urlencode(fields), **headers)

    def token(self, path: str = "/settings") -> str:
        """The token in the forms of a page."""
        found = re.search(r'name="csrf" value="(\w+)"', self.get(path).text)
        assert found, path
        return found[1]

    def sign_in(self, key: str, **headers: str) -> Answer:
        fields = {"key": key, "next": "/settings", "csrf": self.token("/login")}
        return self.post("/login", fields, **headers)
