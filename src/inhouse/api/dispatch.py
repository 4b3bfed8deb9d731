"""One ASGI application in front: hot routes by their path, everything else to FastAPI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from functools import partial
from typing import Any

import msgspec

from inhouse.api.auth import Access
from inhouse.api.batch import Batch
from inhouse.api.body import (
    AsgiApp,
    Gone,
    Receive,
    Scope,
    Send,
    header,
    is_form,
    parse,
    read_body,
    read_form,
)
from inhouse.api.decisions import Decisions
from inhouse.api.embeddings import EmbeddingRoute
from inhouse.api.hangup import unless_gone
from inhouse.api.hot import HotRoutes
from inhouse.api.later import Later
from inhouse.api.probes import Probes
from inhouse.api.problems import MethodNotAllowed, render, unexpected
from inhouse.api.respond import WRITER, Response, Streamed, Writer
from inhouse.bootstrap import App
from inhouse.core.errors import InhouseError
from inhouse.reload import Reloading

Handler = Callable[[Scope, Receive], Awaitable[Response | Streamed]]

_API = "/v1/"
_TASKS = "/v1/tasks/"
_json = msgspec.json.Decoder()
_BODILESS = ("GET", "HEAD", "OPTIONS", "TRACE")


class Dispatcher:
    """The ASGI application of a wired ``App``.

    ``control`` answers what is not hot, and is loaded after the start. ``stopping`` is set when the
    server begins to shut down, so that streams of events end. ``reloading`` follows the settings
    meanwhile. ``failure`` is what kept the App from starting or stopping, if anything did.
    """

    def __init__(
        self,
        app: App,
        access: Access,
        control: Later,
        stopping: asyncio.Event,
        reloading: Reloading,
    ) -> None:
        self._app = app
        self._hot = HotRoutes(app, access)
        self._exact: dict[str, Handler] = {
            "/v1/chat/completions": self._hot.chat,
            "/v1/feedback": self._hot.feedback,
            "/v1/decisions": Decisions(app, access).create,
            "/v1/embeddings": EmbeddingRoute(app, access).create,
        }
        batch = Batch(access, self._hot.run_one, limit=lambda: app.body_limit)
        self._of_task = {"/run": self._hot.run, "/run-batch": batch.run}
        probes = Probes(app)
        self._probes: dict[str, Handler] = {"/healthz": probes.healthz, "/readyz": probes.readyz}
        self.control = control
        self.stopping = stopping
        self.reloading = reloading
        self.failure: Exception | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        try:
            handler = self._handler(scope["path"])
            if handler is not None:
                await self._reply(handler, "POST", scope, receive, send)
            elif (probe := self._probes.get(scope["path"])) is not None:
                await self._reply(probe, "GET", scope, receive, send)
            else:
                await self._pass_on(scope, receive, send)
        except Gone:
            return
        finally:
            scope.pop(WRITER, None)  # it leads back to this scope, a cycle with all of the request

    def _handler(self, path: str) -> Handler | None:
        if path.startswith(_TASKS):
            task, slash, verb = path[len(_TASKS) :].partition("/")
            handler = self._of_task.get(slash + verb)
            return partial(handler, task) if task and handler is not None else None
        return self._exact.get(path)

    async def _reply(
        self, handler: Handler, method: str, scope: Scope, receive: Receive, send: Send
    ) -> None:
        answer: Response | Streamed
        try:
            _check_method(scope, method)
            answer = await handler(scope, receive)
        except InhouseError as error:
            answer = Response(*render(error, scope))
        except Gone:
            raise
        except Exception as error:  # noqa: BLE001 the request is the boundary
            answer = Response(*render(unexpected(error, scope), scope))
        writer: Writer | None = scope.get(WRITER)
        if isinstance(answer, Streamed):
            await unless_gone(scope, _stream(send, writer, answer))
        elif writer is None or not writer.whole(answer):
            await _write(send, answer)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """To FastAPI, with a body that is read and bounded by the same rules as the hot ones: JSON
        for the API, forms for the pages."""
        try:
            if _has_body(scope):
                receive = _replay(await self._body(scope, receive), receive)
            control = await self._loaded(scope)
        except InhouseError as error:
            await _write(send, Response(*render(error, scope)))
            return
        with suppress(Exception):  # FastAPI's handler logged and answered it, then raised
            await control(scope, receive, send)

    async def _loaded(self, scope: Scope) -> AsgiApp:
        """What answers the rest. Raises InhouseError when it cannot be loaded."""
        try:
            return await self.control.get()
        except Exception as error:
            raise unexpected(error, scope) from error

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        if not scope["path"].startswith(_API) and is_form(scope):
            return await read_form(receive, self._app.body_limit)
        body = await read_body(scope, receive, self._app.body_limit)
        parse(_json, body)
        return body

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        if not await self._step(self._start, "startup", send):
            return
        await receive()
        await self._step(self._stop, "shutdown", send)

    async def _step(self, step: Callable[[], Awaitable[None]], name: str, send: Send) -> bool:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 the server is told, and raises it
            self.failure = error
            await send({"type": f"lifespan.{name}.failed", "message": str(error)})
            return False
        await send({"type": f"lifespan.{name}.complete"})
        return True

    async def _start(self) -> None:
        await asyncio.to_thread(self._app.start)
        self.reloading.start()

    async def _stop(self) -> None:
        try:
            await asyncio.to_thread(self.reloading.stop)
            await self._app.shadows.stop()
            await self._app.backends.close()
        finally:
            await asyncio.to_thread(self._app.stop)


def _check_method(scope: Scope, method: str) -> None:
    if scope["method"] != method and (scope["method"], method) != ("HEAD", "GET"):
        raise MethodNotAllowed(f"{scope['path']} takes {method} only")


async def _write(send: Send, response: Response) -> None:
    await send(
        {"type": "http.response.start", "status": response.status, "headers": response.headers}
    )
    await send({"type": "http.response.body", "body": response.body})


async def _stream(send: Send, writer: Writer | None, answer: Streamed) -> None:
    """Pass the pieces on as they come; the caller's hang-up cancels it."""
    try:
        await send({"type": "http.response.start", "status": 200, "headers": answer.headers})
        async for piece in answer.pieces:
            if not piece or writer is None or not writer.piece(piece):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
    finally:
        await answer.pieces.aclose()


def _has_body(scope: Scope) -> bool:
    if scope["method"] in _BODILESS:
        return False
    return (
        header(scope, b"transfer-encoding") is not None
        or (header(scope, b"content-length") or "0") != "0"
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that tells the body once more, and then what follows it."""
    messages: list[MutableMapping[str, Any]] = [
        {"type": "http.request", "body": body, "more_body": False}
    ]

    async def replay() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return replay
