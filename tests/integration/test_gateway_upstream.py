"""The call path over real sockets: routes, fallbacks and records against a scripted upstream."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Unavailable
from inhouse.core.ids import new_id
from inhouse.db.dialects import table_of
from inhouse.db.unit import Database
from inhouse.gateway.body import ChatBody
from inhouse.gateway.chats import Chats
from inhouse.gateway.entry import Call, ChatCall, ChatOutcome, Outcome
from inhouse.gateway.mirror import Poller
from inhouse.gateway.table import RouteTable
from inhouse.inference.upstream import UpstreamBackend
from inhouse.interactions.record import InteractionRecord, Recorder
from inhouse.interactions.search import search
from inhouse.interactions.tables import Interaction
from inhouse.registry import routes
from inhouse.settings import Price, Settings, UpstreamSettings
from inhouse.tasks.catalog import load_catalog
from inhouse.testing.gateway import wire_gateway
from inhouse.testing.upstream_behaviours import answer, completion, hang, reset, status
from inhouse.testing.upstream_exchange import Behaviour
from inhouse.testing.upstream_server import ScriptedUpstream


class World:
    """A gateway whose every model is one of a scripted upstream."""

    def __init__(self, database: Database, upstream: ScriptedUpstream, **task: Any) -> None:
        self.upstream = upstream
        self.database = database
        prices = {"a": Price(input_per_million=1e6, output_per_million=2e6)}
        self._upstream = UpstreamSettings(base_url=upstream.base_url, prices=prices)
        declared = {
            "builtin": "sentiment",
            "kind": "score",
            "chain": ["up/a", "up/b"],
            "timeout_s": 30.0,
            **task,
        }
        tasks = {"mood": declared}
        catalog = load_catalog(Settings(tasks=tasks, upstreams={"up": self._upstream}))
        self.spec = catalog.get("mood")
        self.routes = RouteTable(database, catalog, warm=str)
        self.poller = Poller([self.routes.mirror])
        self.poller.start()
        self.recorder = Recorder(database, clock=SystemClock())
        self.recorder.start()
        self._backends: dict[str, UpstreamBackend] = {}
        self.gateway = wire_gateway(
            database,
            catalog=catalog,
            routes=self.routes,
            resolve=self._resolve,
            recorder=self.recorder,
            jitter=lambda: 0.5,
        )
        self.chats = Chats(self.gateway, timeout_s=30.0)

    def _resolve(self, reference: str) -> UpstreamBackend:
        if reference not in self._backends:
            model = reference.removeprefix("up/")
            self._backends[reference] = UpstreamBackend(
                reference, settings=self._upstream, model=model
            )
        return self._backends[reference]

    def run(self, text: str = "Profits doubled.") -> Outcome:
        return self._within(lambda: self.gateway.run(self.call(text)))

    def chat(self, body: dict[str, Any], model: str) -> ChatOutcome:
        given = ChatBody.of(json.dumps(body).encode())
        chat = ChatCall(interaction_id=new_id(), reference=f"up/{model}", body=given)
        return self._within(lambda: self.chats.answer(chat))

    def call(self, text: str = "Profits doubled.") -> Call:
        return Call(interaction_id=new_id(), task="mood", text=text)

    async def close_backends(self) -> None:
        for backend in self._backends.values():
            await backend.close()

    def recorded(self) -> list[InteractionRecord]:
        """Everything recorded, oldest first."""
        self.recorder.flush()
        with self.database.read() as unit:
            return search(unit, limit=1000)[::-1]

    def rescues(self) -> list[Any]:
        """The tries of calls that a fallback answered."""
        self.recorder.flush()
        table = table_of(Interaction)
        with self.database.read() as unit:
            rows = unit.execute(select(table.c.attempts).where(table.c.rescued))
            return [row.attempts for row in rows]

    def recorded_arms(self) -> dict[str, str | None]:
        """Arm by interaction, however many there are."""
        self.recorder.flush()
        table = table_of(Interaction)
        with self.database.read() as unit:
            return {row.id: row.arm for row in unit.execute(select(table.c.id, table.c.arm))}

    def _within(self, ask: Callable[[], Any]) -> Any:
        async def whole() -> Any:
            try:
                return await ask()
            finally:
                await self.close_backends()

        return asyncio.run(whole())

    def stop(self) -> None:
        self.poller.stop()
        self.recorder.stop()


AT_ONCE = 4
"""Fewer than the answers that a backend may owe before others are asked."""
Make = Callable[..., World]


@pytest.fixture
def make(database: Database) -> Iterator[Make]:
    worlds: list[World] = []

    def build(script: dict[str, Behaviour | str], **task: Any) -> World:
        upstream = ScriptedUpstream(script).start()
        worlds.append(World(database, upstream, **task))
        return worlds[-1]

    yield build
    for world in worlds:
        world.stop()
        world.upstream.stop()


def test_a_call_is_answered_and_recorded(make: Make) -> None:
    world = make({"a": '{"score": 0.75}'})
    outcome = world.run()
    assert outcome.output == {"value": 0.75}
    assert (outcome.model_version, outcome.cost) == ("up/a", 7 * 1.0 + 3 * 2.0)
    (row,) = world.recorded()
    assert (row.status, row.hosting, row.raw) == ("answered", "local", '{"score": 0.75}')
    assert (row.input_tokens, row.output_tokens, row.cost) == (7, 3, 13.0)
    (request,) = world.upstream.requests
    assert "Profits doubled." in request.body["messages"][0]["content"]


@pytest.mark.parametrize(
    ("broken", "code", "tries"),
    [
        (status(500), "upstream-status", 1),
        (status(429), "upstream-status", 2),
        (status(503, retry_after=0.05), "upstream-status", 2),
        (status(503, retry_after=3600), "upstream-status", 1),
        (answer("I cannot tell."), "unparsable", 1),
    ],
)
def test_a_broken_primary_is_rescued(make: Make, broken: Behaviour, code: str, tries: int) -> None:
    world = make({"a": broken, "b": "-0.5"})
    outcome = world.run()
    assert (outcome.model_version, outcome.output) == ("up/b", {"value": -0.5})
    (row,) = world.recorded()
    assert [one["code"] for one in row.attempts] == [code] * tries + [None]
    assert (row.rescued, row.arm) == (True, "incumbent")


def test_a_reset_connection_is_rescued(make: Make) -> None:
    world = make({"a": reset(), "b": "-0.5"})
    assert world.run().model_version == "up/b"
    (row,) = world.recorded()
    assert row.rescued
    assert {one["reference"] for one in row.attempts} == {"up/a", "up/b"}


def test_a_request_at_fault_asks_nobody_else(make: Make) -> None:
    world = make({"a": status(400, "context too long"), "b": "0.5"})
    with pytest.raises(BackendError, match="context too long"):
        world.run()
    assert world.upstream.hits["b"] == 0
    assert world.recorded()[0].status == "failed"


def test_a_hanging_upstream_leaves_time_for_the_next(make: Make) -> None:
    world = make({"a": hang(), "b": "0.5"}, try_timeout_s=0.5)
    outcome = world.run()
    assert (outcome.model_version, outcome.output) == ("up/b", {"value": 0.5})
    world.upstream.wait_until(lambda: world.upstream.open_connections == 0)
    (row,) = world.recorded()
    assert [one["code"] for one in row.attempts] == ["timeout", None]
    assert row.rescued is True


def test_when_all_hang_the_deadline_ends_it(make: Make) -> None:
    world = make({"a": hang(), "b": hang()}, timeout_s=2.0, try_timeout_s=0.2)
    with pytest.raises(Unavailable, match="up/a: timeout, up/b: timeout"):
        world.run()
    world.upstream.wait_until(lambda: world.upstream.open_connections == 0)
    (row,) = world.recorded()
    assert (row.status, row.error_code) == ("failed", "no-backend")


def test_a_client_that_hangs_up_frees_the_upstream(make: Make) -> None:
    world = make({"a": hang()})

    async def hang_up() -> None:
        task = asyncio.create_task(world.gateway.run(world.call()))
        await asyncio.to_thread(world.upstream.wait_until, lambda: world.upstream.hits["a"] == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(hang_up())
    world.upstream.wait_until(lambda: world.upstream.open_connections == 0)
    (row,) = world.recorded()
    assert (row.status, row.attempts[0]["code"]) == ("cancelled", "cancelled")


def test_a_chat_passes_through(make: Make) -> None:
    world = make({"org/model": answer("Hi", finish_reason="length")})
    body = {
        "model": "up/org/model",
        "messages": [
            {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]},
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
        ],
        "temperature": 0.7,
        "metadata": {"a": "b"},
    }
    outcome = world.chat(body, "org/model")
    (request,) = world.upstream.requests
    assert request.body == {**body, "model": "org/model"}
    expected = completion("Hi", finish_reason="length", model="org/model")
    assert json.loads(outcome.body) == expected
    (row,) = world.recorded()
    assert (row.task, row.input, row.output) == (None, body["messages"], {"text": "Hi"})


def test_routes_move_under_load_without_a_failed_call(make: Make) -> None:
    """While calls run, the candidate's weight goes up and back; no call fails, and each is recorded
    with the arm that answered it."""
    world = make({"a": "0.25", "c": "0.75"})

    def move(weight_bp: int) -> None:
        with world.database.write() as unit:
            seen = routes.current(unit, "mood") or routes.implicit("mood", world.spec.chain)
            moved = replace(seen, candidate="up/c", weight_bp=weight_bp)
            routes.append(unit, moved, expect=seen.revision, at=SystemClock().now())

    moved: list[int] = []
    outcomes: list[Outcome] = []

    def move_all() -> None:
        """Each move waits until a call was answered under the one before."""
        for revision, weight in enumerate((3_000, 10_000, 0), start=1):
            move(weight)
            deadline = time.monotonic() + 30.0
            while not outcomes or outcomes[-1].route_revision != revision:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.01)
            moved.append(revision)

    async def load() -> None:
        mover = threading.Thread(target=move_all)
        mover.start()
        while mover.is_alive():
            outcomes.extend(
                await asyncio.gather(*(world.gateway.run(world.call()) for _ in range(AT_ONCE)))
            )
        outcomes.append(await world.gateway.run(world.call()))
        await world.close_backends()

    asyncio.run(load())
    assert moved == [1, 2, 3], "a revision never came into force"
    assert world.rescues() == []
    assert outcomes[-1].arm == "incumbent"
    for outcome in outcomes:
        expected = ("up/c", 0.75) if outcome.arm == "candidate" else ("up/a", 0.25)
        assert (outcome.model_version, outcome.output["value"]) == expected
    assert world.recorded_arms() == {one.interaction_id: one.arm for one in outcomes}
