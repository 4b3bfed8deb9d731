"""The Backend contracts, kept by a general model behind HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from inhouse.inference.base import Backend
from inhouse.inference.upstream import UpstreamBackend
from inhouse.settings import UpstreamSettings
from inhouse.testing.contracts.backend import (
    BackendContract,
    EmbeddingContract,
    StreamingContract,
)
from inhouse.testing.upstream_behaviours import answer, answer_then_close, chunked, in_turn
from inhouse.testing.upstream_exchange import Behaviour, Exchange, Request
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import Tokens, stream
from inhouse.testing.upstream_typed import embeddings


def mood(messages: list[dict[str, Any]]) -> str:
    return "positive" if messages and "rose" in messages[-1]["content"] else "neutral"


class TestUpstreamBackend(BackendContract):
    @pytest.fixture(
        params=[
            answer(mood),
            answer(mood, delay_s=0.005),
            chunked(mood),
            answer_then_close(mood),
            in_turn(*[answer(mood), answer_then_close(mood, said=True)] * 20),
        ],
        ids=["at-once", "later", "chunked", "closing", "mixed"],
    )
    def behaviour(self, request: pytest.FixtureRequest) -> Behaviour:
        behaviour: Behaviour = request.param
        return behaviour

    @pytest.fixture
    def backend(self, behaviour: Behaviour) -> Iterator[Backend]:
        with ScriptedUpstream({"mood": behaviour}) as upstream:
            settings = UpstreamSettings(base_url=upstream.base_url)
            yield UpstreamBackend("scripted/mood", settings=settings, model="mood")
            upstream.wait_until(lambda: upstream.open_connections == 0)


def either(tokens: Tokens, **fields: Any) -> Behaviour:
    """A stream for those who ask for one, else a whole answer."""

    async def behave(exchange: Exchange) -> None:
        one = stream(tokens, **fields) if exchange.request.streams else answer(mood)
        await one(exchange)

    return behave


class TestUpstreamStreams(StreamingContract):
    @pytest.fixture(
        params=[
            either("The market had feared worse."),
            either("The market had feared worse.", pause_s=0.001),
            either("The market had feared worse.", line_end=b"\r\n"),
            answer("It fell from the sky."),
        ],
        ids=["at-once", "slowly", "crlf", "whole"],
    )
    def backend(self, request: pytest.FixtureRequest) -> Iterator[Backend]:
        with ScriptedUpstream({"mood": request.param}) as upstream:
            settings = UpstreamSettings(base_url=upstream.base_url)
            yield UpstreamBackend("scripted/mood", settings=settings, model="mood")
            upstream.wait_until(lambda: upstream.open_connections == 0)


class TestUpstreamEmbeddings(EmbeddingContract):
    @pytest.fixture
    def backend(self) -> Iterator[Backend]:
        def choose(request: Request) -> Behaviour:
            return embeddings() if request.path == "/v1/embeddings" else answer(mood)

        with ScriptedUpstream(choose) as upstream:
            settings = UpstreamSettings(base_url=upstream.base_url)
            yield UpstreamBackend("scripted/vectors", settings=settings, model="vectors")
            upstream.wait_until(lambda: upstream.open_connections == 0)
