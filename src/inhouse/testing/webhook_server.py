"""A receiver of webhooks on a loopback socket: takes what is posted, fails as it is told."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self

Answer = int | Literal["hang", "drop"]
_LONGEST_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request as it came; header names in lower case."""

    path: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class WebhookServer:
    """``answers``: what the next requests get, in order: a status, ``hang`` (nothing until the
    server stops) or ``drop`` (the connection breaks). Behind them everything gets 204."""

    def __init__(self, answers: Sequence[Answer] = ()) -> None:
        self.answers = list(answers)
        self.deliveries: list[Delivery] = []
        self._ending = threading.Event()
        self._changed = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook?room=1"
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def wait_for(self, count: int, timeout_s: float = 30.0) -> list[Delivery]:
        """The first deliveries, once there are so many. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.deliveries) >= count, timeout_s):
                raise TimeoutError(f"{len(self.deliveries)} of {count} deliveries came")
            return self.deliveries[:count]

    def take(self, delivery: Delivery) -> Answer:
        """Note a delivery; what it gets."""
        with self._changed:
            self.deliveries.append(delivery)
            self._changed.notify_all()
            answer: Answer = self.answers.pop(0) if self.answers else 204
        if answer == "hang":
            self._ending.wait(_LONGEST_S)
        return answer

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        take = self.take

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                answer = take(Delivery(self.path, headers, body))
                self.close_connection = True
                if isinstance(answer, int):
                    self.send_response(answer)
                    self.send_header("content-length", "0")
                    self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                """Say nothing."""

        return Handler
