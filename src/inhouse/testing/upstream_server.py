"""A general model for tests: a real server on a loopback socket that does what a script says.

    with ScriptedUpstream({"good": "neutral", "busy": status(503, retry_after=2)}) as upstream:
        settings = UpstreamSettings(base_url=upstream.base_url)
        ...
        assert upstream.hits["good"] == 1

Behaviours are in ``inhouse.testing.upstream_behaviours`` (answers, statuses, hangs, broken HTTP),
``upstream_streams`` (streams, and how they break off) and ``upstream_typed`` (embeddings).
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Self

from inhouse.testing.upstream_behaviours import answer, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange, Request
from inhouse.testing.upstream_streams import stream
from inhouse.testing.upstream_typed import embeddings

_ROUTES = {"/v1/chat/completions", "/v1/embeddings", "/v1/decisions"}
Script = Mapping[str, Behaviour | str] | Callable[[Request], Behaviour | str]


class ScriptedUpstream:
    """An OpenAI-compatible server with its own thread and event loop.

    ``script``: a behaviour per model name, or a function that chooses one for a request; it may be
    replaced at any time, also while the server runs. It holds for chats, embeddings and decisions
    alike; a plain string is the text to answer, streamed to those who ask for a stream, or stands
    for some vectors. Models without a behaviour get 404. With ``api_key``, requests without it get
    401. ``tls``: a server context. ``start`` after ``stop`` takes the same port again.
    """

    def __init__(
        self, script: Script, *, api_key: str = "", tls: ssl.SSLContext | None = None
    ) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.hits: Counter[str] = Counter()
        self.connections = 0
        self.open_connections = 0
        self.port = 0
        self._api_key = api_key
        self._tls = tls
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._ending: asyncio.Event
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def base_url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}/v1"

    def start(self) -> Self:
        """Listen; returns when connections are accepted."""
        listening = socket.create_server(("127.0.0.1", self.port))
        self.port = listening.getsockname()[1]
        ready = threading.Event()
        run = self._run(listening, ready)
        self._thread = threading.Thread(target=asyncio.run, args=(run,), daemon=True)
        self._thread.start()
        ready.wait()
        return self

    def stop(self) -> None:
        """Close every connection and the port. May be called twice."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
            thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until ``condition`` holds; it is looked at after every request and connection.
        Raises TimeoutError."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition():
                if not self._changed.wait(deadline - time.monotonic()):
                    raise TimeoutError("the scripted upstream did not see it in time")

    async def _run(self, listening: socket.socket, ready: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ending = asyncio.Event()
        server = await asyncio.start_server(self._connected, sock=listening, ssl=self._tls)
        ready.set()
        await self._ending.wait()
        server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = self._loop.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._note(opened=1)
        try:
            while not writer.is_closing():
                request = await _read_request(reader)
                self._note(request=request)
                await self._answer(Exchange(request, self.hits[request.model], reader, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client left
        finally:
            writer.transport.close()
            self._note(closed=1)

    async def _answer(self, exchange: Exchange) -> None:
        request = exchange.request
        if self._api_key and request.headers.get("authorization") != f"Bearer {self._api_key}":
            await status(401, "Incorrect API key provided")(exchange)
        elif request.path == "/v1/models":
            await exchange.respond(200, self._models())
        elif request.path in _ROUTES:
            await self._behaviour(request)(exchange)
        else:
            await status(404, f"Invalid URL ({request.method} {request.path})")(exchange)

    def _behaviour(self, request: Request) -> Behaviour:
        if callable(self.script):
            chosen = self.script(request)
        else:
            missing = status(404, f"The model `{request.model}` does not exist")
            chosen = self.script.get(request.model, missing)
        return _saying(chosen, request) if isinstance(chosen, str) else chosen

    def _models(self) -> bytes:
        names = [] if callable(self.script) else sorted(self.script)
        data = [{"id": name, "object": "model", "owned_by": "test"} for name in names]
        return json.dumps({"object": "list", "data": data}).encode()

    def _note(self, *, request: Request | None = None, opened: int = 0, closed: int = 0) -> None:
        with self._changed:
            self.connections += opened
            self.open_connections += opened - closed
            if request is not None:
                self.requests.append(request)
                self.hits[request.model] += 1
            self._changed.notify_all()


def _saying(text: str, request: Request) -> Behaviour:
    if request.path == "/v1/embeddings":
        return embeddings()
    return stream(text) if request.streams else answer(text)


async def _read_request(reader: asyncio.StreamReader) -> Request:
    first, *rest = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    pairs = (line.partition(":") for line in rest if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    raw = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, path, headers, json.loads(raw) if raw else {})
