"""One request and its answer on a scripted server, as bytes: what behaviours are written with."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_REASONS = {200: "OK", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came. ``body`` is its JSON, {} when it has none."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def streams(self) -> bool:
        """Whether it asks for a stream."""
        return self.body.get("stream") is True

    @property
    def messages(self) -> list[dict[str, Any]]:
        return list(self.body.get("messages", []))


class Exchange:
    """What a behaviour works with: the request, and the socket to answer on.

    ``turn`` counts the requests for this model, from 1.
    """

    def __init__(
        self,
        request: Request,
        turn: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.request = request
        self.turn = turn
        self._reader = reader
        self._writer = writer

    @property
    def peer(self) -> int:
        """The client's port: the same for requests that share a connection."""
        port: int = self._writer.get_extra_info("peername")[1]
        return port

    async def send(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def respond(
        self, code: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        """Write a whole, well-formed answer."""
        await self.send(head(code, len(body), headers) + body)

    async def client_gone(self) -> None:
        """Wait until the client closes the connection."""
        while await self._reader.read(65536):
            pass

    def close(self) -> None:
        """End the connection after what was written."""
        self._writer.close()

    def reset(self) -> None:
        """End the connection as a crashed host does (RST)."""
        raw = self._writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[None]]


def head(code: int, length: int | None, headers: Mapping[str, str] | None = None) -> bytes:
    """Status line and headers, of JSON unless ``headers`` say otherwise; ``length`` None leaves out
    content-length."""
    told = {"content-type": "application/json", **(headers or {})}
    if length is not None:
        told["content-length"] = str(length)
    lines = [f"HTTP/1.1 {code} {_REASONS.get(code, 'Scripted')}"]
    lines += [f"{name}: {value}" for name, value in told.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
