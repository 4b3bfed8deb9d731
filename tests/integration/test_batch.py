"""Batches through a real server, by both SDKs."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import App, bootstrap
from inhouse.client.aio import AsyncClient
from inhouse.client.batch import BatchInput
from inhouse.client.errors import ApiError
from inhouse.client.sync import Client
from inhouse.interactions.search import search
from inhouse.settings import Settings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import hang, status
from inhouse.testing.upstream_exchange import Behaviour, Request
from inhouse.testing.upstream_server import ScriptedUpstream


def script(request: Request) -> Behaviour | str:
    text = str(request.messages[-1]["content"])
    if text.startswith("bad"):
        return status(400, "no")
    return hang() if text.startswith("hang") else text.split("-")[0]


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(script) as server:
        yield server


@pytest.fixture
def app(upstream: ScriptedUpstream, tmp_path: Path) -> App:
    labels = ("a", "b", "c")
    settings = Settings(
        upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
        tasks={
            "letter": TaskSettings(
                kind="choice", labels=labels, prompt="{{ input }}", chain=("local/good",)
            )
        },
        folder=tmp_path,
    )
    return bootstrap(settings)


@pytest.fixture
def server(app: App) -> Iterator[ServerHandle]:
    with serve_in_thread(app) as handle:
        yield handle


def statuses(app: App) -> Counter[str]:
    app.recorder.flush()
    with app.database.read() as unit:
        return Counter(one.status for one in search(unit, task="letter", limit=1000))


def test_a_batch_is_answered_in_order_and_every_call_recorded(
    app: App, server: ServerHandle
) -> None:
    texts = [f"{'abc'[number % 3]}-{number}" for number in range(300)]
    inputs: list[str | BatchInput] = [*texts, BatchInput(input="a", tags={"k": "v"}), "bad"]
    with Client(server.url) as client:
        *good, tagged, bad = client.run_batch("letter", inputs)
    assert [one.ok.output["label"] for one in good if one.ok] == [text[0] for text in texts]
    assert bad.error is not None
    assert (bad.error.status, bad.error.code) == (400, "upstream-status")
    assert statuses(app) == {"answered": 301, "failed": 1}
    with app.database.read() as unit:
        kept = {one.id: one for one in search(unit, task="letter", limit=1000)}
    assert tagged.ok is not None
    assert kept[tagged.ok.interaction_id].tags == {"k": "v"}
    assert bad.interaction_id is not None
    assert kept[bad.interaction_id].status == "failed"


def test_an_error_in_a_batch_is_the_one_that_the_input_gets_alone(server: ServerHandle) -> None:
    with Client(server.url) as client:
        (together,) = client.run_batch("letter", ["bad"])
        with pytest.raises(ApiError) as alone:
            client.run("letter", "bad")
        (nowhere,) = client.run_batch("letter", ["a"], model="letter@9")
    assert together.error is not None
    assert (together.error.status, together.error.code) == (alone.value.status, alone.value.code)
    assert together.error.detail == alone.value.message
    assert nowhere.error is not None
    assert nowhere.error.code == "version-not-found"


def test_an_unknown_task_fails_every_input(server: ServerHandle) -> None:
    with Client(server.url) as client:
        results = client.run_batch("nothing", ["a", "b"])
    assert [one.error.code for one in results if one.error] == ["task-not-found"] * 2
    assert [one.interaction_id for one in results] == [None, None]


def test_who_hangs_up_takes_the_whole_batch_along(
    app: App, server: ServerHandle, upstream: ScriptedUpstream
) -> None:
    host, port = server.url.removeprefix("http://").split(":")
    body = json.dumps({"inputs": [{"input": f"hang-{number}"} for number in range(40)]}).encode()
    with socket.create_connection((host, int(port))) as caller:
        caller.sendall(
            b"POST /v1/tasks/letter/run-batch HTTP/1.1\r\nhost: localhost\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        upstream.wait_until(lambda: upstream.hits["good"] == 16)
    upstream.wait_until(lambda: upstream.open_connections == 0)
    with Client(server.url) as client:
        client.run("letter", "a")
    assert upstream.hits["good"] == 17
    assert statuses(app) == {"cancelled": 16, "answered": 1}


def test_the_sdk_for_asyncio_does_all_of_it(app: App, server: ServerHandle) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.url, connections=4) as client:
            answers = await asyncio.gather(
                *(client.run("letter", f"{'abc'[number % 3]}-{number}") for number in range(60))
            )
            assert [one.output["label"] for one in answers] == list("abc" * 20)
            said = await client.feedback(answers[0].interaction_id, "correction", "b", author="ada")
            assert said.value == {"label": "b"}
            results = await client.run_batch("letter", ["a", "bad"])
            assert results[0].ok is not None
            assert results[1].error is not None
            app.recorder.flush()
            page = await client.interactions(task="letter", status="answered", limit=100)
            assert len(page.items) == 61
            with pytest.raises(ApiError) as caught:
                await client.run("nothing", "x")
            assert (caught.value.status, caught.value.code) == (404, "task-not-found")

    asyncio.run(scenario())


def test_a_call_of_the_sdk_that_is_cancelled_is_cancelled_everywhere(
    app: App, server: ServerHandle, upstream: ScriptedUpstream
) -> None:
    async def scenario() -> None:
        async with AsyncClient(server.url) as client:
            call = asyncio.create_task(client.run("letter", "hang"))
            await asyncio.to_thread(upstream.wait_until, lambda: upstream.hits["good"] == 1)
            call.cancel()
            await asyncio.wait([call])
            await asyncio.to_thread(upstream.wait_until, lambda: upstream.open_connections == 0)
            assert (await client.run("letter", "a")).output == {"label": "a"}

    asyncio.run(scenario())
    assert statuses(app) == {"cancelled": 1, "answered": 1}
