"""Running the server: one process, one event loop, one socket."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

import uvicorn

from inhouse.api.app import app as build
from inhouse.api.auth import is_loopback
from inhouse.api.dispatch import Dispatcher
from inhouse.api.protocol import Protocol
from inhouse.bootstrap import App
from inhouse.core.errors import Invalid

DRAIN_S: Final = 30
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_BACKLOG: Final = 2048
_KEEP_ALIVE_S: Final = 75
_ALLOCATIONS: Final = 20_000
"""Objects made (less those freed) until the collector looks at the young ones."""


def serve(app: App, *, host: str, port: int, ready: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; then let calls finish (at most 30 s) and commit what was
    recorded. SIGHUP reads the settings again. ``ready`` hears the URL once connections are
    accepted; port 0 takes a free one.

    Raises Invalid (code ``open-bind``) for an address that others can reach while no key exists,
    Invalid (code ``bind``) when the address cannot be had, and whatever keeps the App from
    starting.
    """
    server = _Server(app, _listen(app, host, port), ready, loaded=_spare_what_stays)
    _spare_what_stays()
    before = [(number, signal.signal(number, server.leave)) for number in _SIGNALS]
    before.append((signal.SIGHUP, signal.signal(signal.SIGHUP, server.reload)))
    try:
        server.run_here()
    finally:
        for number, handler in before:
            signal.signal(number, handler)


def _spare_what_stays() -> None:
    """Have the collector of garbage leave alone what was loaded, which stays, and look less often:
    the hot path makes few cycles, and a look at everything would stop all calls for 50 ms. Done
    again when the rest is loaded."""
    gc.freeze()
    gc.enable()
    gc.set_threshold(_ALLOCATIONS, *gc.get_threshold()[1:])


class ServerHandle:
    """A server in a thread of this process: its ``url``, and ``stop``, which drains it."""

    def __init__(self, server: _Server, name: str) -> None:
        self._server = server
        self._settled = threading.Event()
        self._failures: list[BaseException] = []
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self.url = server.url

    def start(self) -> Self:
        """Return once connections are accepted. Raises what keeps the App from starting."""
        self._server.on_ready = lambda _: self._settled.set()
        self._thread.start()
        self._settled.wait()
        self._raise()
        return self

    def begin_stop(self) -> None:
        """Take no more connections and let calls finish; ``stop`` waits for that."""
        self._server.leave()

    def stop(self) -> None:
        """Let calls finish, commit what was recorded, end the thread. May be called twice. Raises
        what kept the App from stopping."""
        self.begin_stop()
        self._thread.join()
        self._raise()

    def _work(self) -> None:
        try:
            self._server.run_here()
        except BaseException as error:  # noqa: BLE001 raised again in the thread that waits
            self._failures.append(error)
        finally:
            self._settled.set()

    def _raise(self) -> None:
        if self._failures:
            raise self._failures.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def serve_in_thread(app: App, *, host: str = "127.0.0.1", port: int = 0) -> ServerHandle:
    """Start a server in a thread and return once it accepts connections. Raises as ``serve``."""
    return ServerHandle(_Server(app, _listen(app, host, port)), "server").start()


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready, loads then what is not hot, and tells streams when it
    stops."""

    def __init__(
        self,
        app: App,
        listening: socket.socket,
        ready: Callable[[str], None] | None = None,
        *,
        loaded: Callable[[], None] = lambda: None,
    ) -> None:
        self._dispatcher: Dispatcher = build(app)
        self._loaded = loaded
        self._loader = threading.Thread(target=self._load, name="loader", daemon=True)
        self._listening = listening
        self.on_ready = ready
        self.url = _url(listening)
        super().__init__(
            uvicorn.Config(
                self._dispatcher,
                http=Protocol,
                loop="auto",
                ws="none",
                lifespan="on",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                backlog=_BACKLOG,
                timeout_keep_alive=_KEEP_ALIVE_S,
                timeout_graceful_shutdown=DRAIN_S,
            )
        )

    def leave(self, *_: object) -> None:
        """Begin to shut down; also a handler of signals. uvicorn sends the signals that it took
        once more at the end, which would otherwise kill the process."""
        self.should_exit = True

    def reload(self, *_: object) -> None:
        """Read the settings again; also a handler of signals."""
        self._dispatcher.reloading.ask()

    def run_here(self) -> None:
        """Run in this thread until told to stop."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        try:
            with suppress(SystemExit):
                self.run(sockets=[self._listening])
        finally:
            self._listening.close()
            if self._loader.is_alive():
                self._loader.join()
        if self._dispatcher.failure is not None:
            raise self._dispatcher.failure

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.should_exit:
            return
        self._loader.start()
        if self.on_ready is not None:
            self.on_ready(self.url)

    def _load(self) -> None:
        """The control API and the pages. What fails here fails again, and is told, where they are
        asked for."""
        with suppress(Exception):
            self._dispatcher.control.load()
            self._loaded()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._dispatcher.stopping.set()
        await super().shutdown(sockets)


def _listen(app: App, host: str, port: int) -> socket.socket:
    """A bound socket on the first address of the host."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise _no_address(host, port, error) from error
    app.keys.refresh()
    if not is_loopback(str(address[0])) and not len(app.keys):
        raise Invalid(
            f"{host} can be reached by others, and no key exists",
            code="open-bind",
            hint="make a key first: `inhouse keys create --name NAME --role admin`",
        )
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise _no_address(host, port, error) from error
    return listening


def _no_address(host: str, port: int, error: OSError) -> Invalid:
    return Invalid(
        f"cannot listen on {host} port {port}: {error.strerror or error}",
        code="bind",
        hint="is another server running there? --port 0 takes a free one",
    )


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"
