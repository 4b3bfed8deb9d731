"""What is loaded after the start: once, by whoever comes first, and again when it failed."""

from __future__ import annotations

import asyncio
import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from inhouse.api.auth import Access
from inhouse.api.body import Receive, Scope, Send
from inhouse.api.dispatch import Dispatcher
from inhouse.api.later import Later
from inhouse.bootstrap import bootstrap
from inhouse.reload import Reloading
from inhouse.settings import load_settings


async def nothing(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def test_many_at_once_have_it_made_once() -> None:
    made, ready = [], threading.Barrier(8)

    def make() -> Any:
        made.append(1)
        return nothing

    later = Later(make)

    def load() -> Any:
        ready.wait()
        return later.load()

    with ThreadPoolExecutor(8) as pool:
        found = [one.result() for one in [pool.submit(load) for _ in range(8)]]
    assert (made, set(found)) == ([1], {nothing})


def test_who_comes_while_it_is_made_does_not_hold_up_others() -> None:
    go_on, began = threading.Event(), threading.Event()

    def make() -> Any:
        began.set()
        assert go_on.wait(30)
        return nothing

    later = Later(make)

    async def two() -> None:
        first = asyncio.create_task(later.get())
        await asyncio.to_thread(began.wait, 30)
        assert not first.done(), "the loop runs meanwhile"
        go_on.set()
        assert await first is nothing

    asyncio.run(two())


def test_what_cannot_be_loaded_is_told_and_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def make() -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise ImportError("half an installation")
        return nothing

    wired = bootstrap(load_settings(tmp_path, {}))
    dispatcher = Dispatcher(
        wired, Access(wired.keys), Later(make), asyncio.Event(), Reloading(wired)
    )

    async def ask(path: str) -> list[Any]:
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        await dispatcher(
            {"type": "http", "path": path, "method": "GET", "headers": []}, receive, send
        )
        return sent

    start, body = asyncio.run(ask("/v1/tasks"))
    assert (start["status"], json.loads(body["body"])["code"]) == (500, "internal")
    assert "half an installation" in caplog.text
    assert asyncio.run(ask("/healthz"))[0]["status"] == 200, "what is hot needs none of it"
    assert asyncio.run(ask("/v1/tasks"))[0]["status"] == 204
    wired.database.close()
