"""The official ``openai`` client's embeddings against a real server: own vectors and upstreams'."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from inhouse.api.serve import ServerHandle, serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.client.sync import Client
from inhouse.settings import Settings, StoreSettings, TaskSettings, UpstreamSettings
from inhouse.testing.upstream_behaviours import json_body, status
from inhouse.testing.upstream_exchange import Exchange
from inhouse.testing.upstream_server import ScriptedUpstream

pytestmark = pytest.mark.models

OWN = "embedded/minilm-l6"
TEXTS = ["Profit rose by a fifth.", "Earnings went up by 20 %.", "The cat sleeps."]


async def vectors(exchange: Exchange) -> None:
    """Two numbers per input, as numbers or as base64, as the request asks."""
    coded = exchange.request.body.get("encoding_format") == "base64"
    data = []
    for at, _ in enumerate(exchange.request.body["input"]):
        plain = [float(at), 0.5]
        vector: Any = base64.b64encode(struct.pack("<2f", *plain)).decode() if coded else plain
        data.append({"object": "embedding", "index": at, "embedding": vector})
    usage = {"prompt_tokens": 6, "total_tokens": 6}
    body = {"object": "list", "data": data, "model": "theirs", "usage": usage}
    await exchange.respond(200, json.dumps(body).encode())


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    script = {"vectors": vectors, "busy": status(429), "odd": json_body({"data": []})}
    with ScriptedUpstream(script) as server:
        yield server


@pytest.fixture(scope="module")
def server(
    upstream: ScriptedUpstream, weights_store: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServerHandle]:
    settings = Settings(
        upstreams={"local": UpstreamSettings(base_url=upstream.base_url)},
        tasks={"sentiment": TaskSettings(builtin="sentiment", chain=("local/vectors",))},
        store=StoreSettings(path=str(weights_store)),
        folder=Path(tmp_path_factory.mktemp("project")),
    )
    with serve_in_thread(bootstrap(settings)) as running:
        yield running


@pytest.fixture
def client(server: ServerHandle) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="unused", max_retries=0) as made:
        yield made


def recorded(server: ServerHandle, interaction_id: str) -> Any:
    with Client(server.url) as sdk:
        for _ in range(500):
            page = sdk.interactions(limit=1000).items
            if found := [one for one in page if one.id == interaction_id]:
                return found[0]
    raise AssertionError("it was never recorded")


def cosine(one: list[float], other: list[float]) -> float:
    return math.fsum(a * b for a, b in zip(one, other, strict=True))


def test_own_vectors_by_the_clients_default(client: openai.OpenAI, server: ServerHandle) -> None:
    raw = client.embeddings.with_raw_response.create(model=OWN, input=TEXTS)
    found = raw.parse()
    assert isinstance(json.loads(raw.content)["data"][0]["embedding"], str)
    near, far = (cosine(found.data[0].embedding, found.data[at].embedding) for at in (1, 2))
    assert near > 0.5 > far
    assert [one.index for one in found.data] == [0, 1, 2]
    assert {len(one.embedding) for one in found.data} == {384}
    assert cosine(found.data[0].embedding, found.data[0].embedding) == pytest.approx(1, abs=1e-5)
    assert (found.model, found.object) == (OWN, "list")
    assert found.usage.prompt_tokens == found.usage.total_tokens > 10
    assert raw.headers["x-inhouse-model-version"] == OWN
    kept = recorded(server, raw.headers["x-inhouse-interaction-id"])
    assert (kept.task, kept.input) == (None, TEXTS)
    assert kept.output == {"count": 3, "dimensions": 384}
    assert kept.input_tokens == found.usage.prompt_tokens


def test_numbers_and_base64_are_the_same_vectors(client: openai.OpenAI) -> None:
    coded = client.embeddings.create(model=OWN, input=TEXTS[0])
    plain = client.embeddings.create(
        model=OWN, input=TEXTS[0], encoding_format="float", dimensions=384
    )
    assert coded.data[0].embedding == pytest.approx(plain.data[0].embedding, abs=1e-7)


def test_the_async_client_is_served_too(server: ServerHandle) -> None:
    async def main() -> list[Any]:
        async with openai.AsyncOpenAI(
            base_url=f"{server.url}/v1", api_key="unused", max_retries=0
        ) as client:
            asked = [client.embeddings.create(model=OWN, input=text) for text in TEXTS * 3]
            return await asyncio.gather(*asked)

    found = asyncio.run(main())
    assert [len(one.data[0].embedding) for one in found] == [384] * 9
    assert found[0].data[0].embedding == found[3].data[0].embedding


@pytest.mark.parametrize("asked", [["a", "b"], [[1, 2], [3]], [7, 8, 9], "a"])
def test_an_upstreams_vectors_pass_through(
    client: openai.OpenAI, upstream: ScriptedUpstream, server: ServerHandle, asked: Any
) -> None:
    raw = client.embeddings.with_raw_response.create(
        model="local/vectors", input=asked, extra_body={"input_type": "query"}
    )
    found = raw.parse()
    several = not isinstance(asked, str) and not isinstance(asked[0], int)
    assert [one.embedding for one in found.data] == (
        [[0.0, 0.5], [1.0, 0.5]] if several else [[0.0, 0.5]]
    )
    sent = upstream.requests[-1].body
    assert sent["model"] == "vectors"
    assert sent["input"] == (asked if several else [asked])
    assert (sent["encoding_format"], sent["input_type"]) == ("base64", "query")
    kept = recorded(server, raw.headers["x-inhouse-interaction-id"])
    assert kept.input == asked
    assert kept.output == {"count": len(found.data), "dimensions": 2}
    assert kept.input_tokens == 6


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ("", "embedding-input"),
        ([], "embedding-input"),
        (["a", ""], "embedding-input"),
        (["a", 1], "embedding-input"),
        ([[]], "embedding-input"),
        (["x"] * 2049, "embedding-input"),
    ],
)
def test_what_cannot_be_embedded_is_a_bad_request(
    client: openai.OpenAI, asked: Any, code: str
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="local/vectors", input=asked)
    assert (caught.value.code, caught.value.param) == (code, "input")


@pytest.mark.parametrize(
    ("model", "more", "error", "code"),
    [
        (OWN, {"dimensions": 100}, openai.UnprocessableEntityError, "dimensions"),
        (OWN, {"input": [1, 2]}, openai.UnprocessableEntityError, "input-tokens"),
        (OWN, {"input": "x" * 40_000}, openai.UnprocessableEntityError, "input-too-long"),
        ("task:sentiment", {}, openai.UnprocessableEntityError, "reference"),
        ("nowhere/x", {}, openai.NotFoundError, "upstream-not-found"),
        ("local/busy", {}, openai.RateLimitError, "upstream-status"),
        ("local/odd", {}, openai.InternalServerError, "upstream-garbage"),
        ("local/vectors", {"dimensions": 0}, openai.UnprocessableEntityError, "invalid-field"),
    ],
)
def test_errors_arrive_as_the_clients_own(
    client: openai.OpenAI,
    model: str,
    more: dict[str, Any],
    error: type[openai.APIStatusError],
    code: str,
) -> None:
    with pytest.raises(error) as caught:
        client.embeddings.create(**{"model": model, "input": "a", **more})
    assert caught.value.code == code


def test_an_encoder_does_not_chat(client: openai.OpenAI) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=OWN, messages=[{"role": "user", "content": "hi"}])
    assert caught.value.code == "unsupported"
