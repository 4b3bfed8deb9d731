"""The Backend contract, kept by a general model behind HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from inhouse.inference.base import Backend
from inhouse.inference.upstream import UpstreamBackend
from inhouse.settings import UpstreamSettings
from inhouse.testing.contracts.backend import BackendContract
from inhouse.testing.upstream_behaviours import answer, answer_then_close, chunked, in_turn
from inhouse.testing.upstream_exchange import Behaviour
from inhouse.testing.upstream_server import ScriptedUpstream


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
