"""Dead, hanging and busy backends over real sockets: what they cost, and who hears of it."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from typer.testing import CliRunner

from inhouse.api import breakers as api
from inhouse.api.auth import Access
from inhouse.api.problems import render
from inhouse.cli.breakers import app as cli
from inhouse.cli.context import set_folder
from inhouse.core.clock import SystemClock
from inhouse.core.errors import BackendError, Denied, InhouseError, Invalid, NotFound
from inhouse.core.ids import new_id
from inhouse.db.unit import Database
from inhouse.gateway.breaker import BreakerState
from inhouse.gateway.breakers import Breakers, BreakerView
from inhouse.gateway.fallback import AllFailed, Chain
from inhouse.gateway.keys import KeyRing, Role, create
from inhouse.gateway.metrics import BREAKER_OPENED, BREAKER_STATE
from inhouse.gateway.trace import Attempt
from inhouse.inference.base import Message, Question
from inhouse.inference.upstream import UpstreamBackend
from inhouse.settings import UpstreamSettings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.upstream_behaviours import answer, garbage, hang, in_turn, reset, status
from inhouse.testing.upstream_exchange import Behaviour
from inhouse.testing.upstream_server import ScriptedUpstream

QUESTION = Question(messages=(Message("user", "Say OK."),))
MANY = 600
FAILURES = 5


class _Begun:
    """A stream whose first token is there."""

    def __init__(self, token: str) -> None:
        self.token = token


class World:
    """A chain over the models of a scripted upstream; ``attempts`` are those of every walk."""

    def __init__(self, upstream: ScriptedUpstream, *, streaming: bool, open_s: float = 300.0):
        self.upstream = upstream
        self.streaming = streaming
        self.clock: Any = SystemClock()
        self.attempts: list[Attempt] = []
        self.answers: Counter[str] = Counter()
        self.ports: dict[str, int] = {}
        self._open_s = open_s
        self._backends: dict[str, UpstreamBackend] = {}
        self.breakers: Breakers

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        self.breakers = Breakers(
            clock=self.clock, jitter=lambda: 0.5, failures=FAILURES, open_s=self._open_s
        )
        try:
            yield
        finally:
            for backend in self._backends.values():
                await backend.close()

    async def ask(self, reference: str) -> Any:
        if reference not in self._backends:
            url = self.upstream.base_url
            if reference in self.ports:
                url = f"http://127.0.0.1:{self.ports[reference]}/v1"
            self._backends[reference] = UpstreamBackend(
                reference, settings=UpstreamSettings(base_url=url), model=reference[3:]
            )
        reply = await self._backends[reference].answer(QUESTION)
        return _Begun(reply.content) if self.streaming else reply.content

    async def walk(self, *references: str, timeout_s: float = 20.0, **limits: float) -> str:
        chain = Chain(
            clock=self.clock,
            jitter=lambda: 0.5,
            breakers=self.breakers,
            attempts=self.attempts,
        )
        answered = await chain.walk(references, self.ask, timeout_s, **limits)
        text: str = answered.token if self.streaming else answered
        self.answers[text] += 1
        return text

    async def load(self, calls: int, at_once: int, one: Callable[[], Awaitable[object]]) -> None:
        """So many calls, ``at_once`` under way at any time."""
        left = iter(range(calls))

        async def work() -> None:
            for _ in left:
                await one()

        await asyncio.gather(*(work() for _ in range(at_once)))

    def view(self, reference: str) -> BreakerView:
        return next(one for one in self.breakers.states() if one.reference == reference)

    def timed_out(self) -> int:
        return sum(one["code"] == "timeout" for one in self.attempts)


Make = Callable[..., World]


@pytest.fixture(params=[False, True], ids=["whole", "stream"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    upstreams: list[ScriptedUpstream] = []

    def build(script: dict[str, Behaviour | str], **options: Any) -> World:
        upstreams.append(ScriptedUpstream(script).start())
        return World(upstreams[-1], streaming=request.param, **options)

    yield build
    for upstream in upstreams:
        upstream.stop()


def play(world: World, work: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        async with world.opened():
            await work()

    asyncio.run(whole())


@pytest.mark.parametrize("at_once", [1, 4, 16])
@pytest.mark.parametrize("dead", [status(500), status(503), status(401), garbage(), reset()])
def test_a_dead_primary_costs_one_request_in_a_hundred_at_most(
    make: Make, dead: Behaviour, at_once: int
) -> None:
    world = make({"dead": dead, "good": "fine"})

    async def work() -> None:
        await world.load(MANY, at_once, lambda: world.walk("up/dead", "up/good"))

    play(world, work)
    assert world.answers == {"fine": MANY}
    asked = sum(
        one["reference"] == "up/dead" and one["code"] != "breaker-open" for one in world.attempts
    )
    silent = sum(one["code"] == "breaker-silent" for one in world.attempts)
    assert 5 <= asked - silent <= 6
    assert world.view("up/dead").state is BreakerState.OPEN


@pytest.mark.parametrize("at_once", [1, 4])
def test_a_primary_that_dies_while_it_is_used(make: Make, at_once: int) -> None:
    world = make({"dying": in_turn(*["alive"] * 50, status(500)), "good": "fine"})

    async def work() -> None:
        await world.load(MANY, at_once, lambda: world.walk("up/dying", "up/good"))

    play(world, work)
    assert world.answers == {"alive": 50, "fine": MANY - 50}
    late = at_once - 1  # each answer that comes late may take back what failures had counted
    assert world.upstream.hits["dying"] - 50 <= FAILURES + 1 + late * FAILURES


def test_a_refused_connection_is_tried_twice_then_left_alone(make: Make) -> None:
    world = make({"good": "fine"})

    async def work() -> None:
        await world.load(20, 1, lambda: world.walk("up/gone", "up/good"))

    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        world.ports["up/gone"] = deaf.getsockname()[1]
        play(world, work)
    assert world.answers == {"fine": 20}
    codes = [one["code"] for one in world.attempts if one["reference"] == "up/gone"]
    assert codes == ["upstream-connect"] * 5 + ["breaker-open"] * 17


def test_a_hanging_primary_that_never_answered_costs_five_calls_one_time_out_each(
    make: Make,
) -> None:
    world = make({"hangs": hang(), "good": "fine"})

    async def work() -> None:
        one = lambda: world.walk("up/hangs", "up/good", try_timeout_s=0.5)  # noqa: E731
        await world.load(MANY, 20, one)
        await one()

    play(world, work)
    assert world.answers == {"fine": MANY + 1}
    assert world.timed_out() == FAILURES
    assert world.upstream.hits["hangs"] <= FAILURES
    assert world.view("up/hangs").state is BreakerState.OPEN


def test_a_hanging_primary_that_used_to_answer_costs_five_calls_one_time_out_each(
    make: Make,
) -> None:
    """Twenty calls a second on the breakers' clock, each under way until its time is over."""
    world = make({"hangs": in_turn(*["alive"] * 50, hang()), "good": "fine"})
    world.clock = FrozenClock()

    async def warm() -> None:
        world.clock.advance(0.05)
        await world.walk("up/hangs", "up/good")

    async def work() -> None:
        await world.load(50, 1, warm)
        calls = []
        for _ in range(20):
            world.clock.advance(0.05)
            one = world.walk("up/hangs", "up/good", try_timeout_s=0.5)
            calls.append(asyncio.create_task(one))
            await asyncio.sleep(0)
        await asyncio.gather(*calls)
        await world.load(MANY, 20, lambda: world.walk("up/hangs", "up/good", try_timeout_s=0.5))

    play(world, work)
    assert world.answers == {"alive": 50, "fine": MANY + 20}
    assert world.timed_out() == FAILURES
    assert world.upstream.hits["hangs"] <= 50 + FAILURES


def test_exactly_one_of_fifty_callers_probes(make: Make) -> None:
    world = make({"ill": in_turn(*[status(500)] * 5, answer("well", delay_s=0.2)), "good": "fine"})
    world.clock = FrozenClock()

    async def work() -> None:
        await world.load(5, 1, lambda: world.walk("up/ill", "up/good"))
        world.clock.advance(400.0)
        await world.load(50, 50, lambda: world.walk("up/ill", "up/good"))
        assert world.upstream.hits["ill"] == 6
        assert world.view("up/ill").state is BreakerState.CLOSED
        assert await world.walk("up/ill", "up/good") == "well"

    play(world, work)
    assert world.answers == {"fine": 5 + 49, "well": 2}


def test_a_failed_probe_closes_the_door_again(make: Make) -> None:
    world = make({"ill": status(500), "good": "fine"})
    world.clock = FrozenClock()

    async def work() -> None:
        await world.load(5, 1, lambda: world.walk("up/ill", "up/good"))
        for _ in range(3):
            world.clock.advance(400.0)
            await world.load(50, 50, lambda: world.walk("up/ill", "up/good"))

    play(world, work)
    assert world.answers == {"fine": 155}
    assert world.upstream.hits["ill"] == 5 + 3
    assert world.view("up/ill").opened == 4


def test_a_busy_primary_is_asked_again_after_the_time_it_names(make: Make) -> None:
    world = make({"busy": in_turn(status(429, retry_after=0.2), "ready"), "good": "fine"})

    async def work() -> None:
        assert await world.walk("up/busy", "up/good") == "ready"

    play(world, work)
    assert [one["code"] for one in world.attempts] == ["upstream-status", None]


def test_a_request_at_fault_opens_nothing(make: Make) -> None:
    world = make({"strict": status(400), "good": "fine"})

    async def work() -> None:
        for _ in range(10):
            with pytest.raises(AllFailed):
                await world.walk("up/strict", "up/good")
        assert world.breakers.states() == []

    play(world, work)
    assert world.upstream.hits == {"strict": 10}


def test_the_metrics_follow(make: Make) -> None:
    name = f"up/measured-{new_id()}"
    world = make({name[3:]: in_turn(*[status(500)] * 5, "well")})
    world.clock = FrozenClock()
    gauge, counter = BREAKER_STATE.labels(name), BREAKER_OPENED.labels(name)

    async def work() -> None:
        for _ in range(5):
            with pytest.raises(AllFailed):
                await world.walk(name)
        assert (gauge._value.get(), counter._value.get()) == (2, 1)
        with pytest.raises(AllFailed) as refused:
            await world.walk(name)
        assert isinstance(refused.value.last, BackendError)
        assert refused.value.last.retry_after == pytest.approx(315.0)
        world.clock.advance(400.0)
        await world.walk(name)
        assert gauge._value.get() == 0

    play(world, work)


# --- what people see ---


class Served:
    """The breakers' routes on a socket of their own."""

    def __init__(self, breakers: Breakers, keys: KeyRing) -> None:
        app = FastAPI()
        app.include_router(api.router)
        app.state.wired = SimpleNamespace(breakers=breakers)
        app.state.access = Access(keys)
        app.add_exception_handler(InhouseError, _answer)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, args=([self._socket],))
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join()
        self._socket.close()


async def _answer(request: Any, error: Any) -> Any:
    from starlette.responses import Response

    code, headers, body = render(error, request.scope)
    response = Response(body, code)
    response.raw_headers = headers
    return response


@pytest.fixture
def breakers(tmp_path: Path) -> Breakers:
    set_folder(tmp_path)
    made = Breakers(clock=SystemClock(), jitter=lambda: 0.0, failures=1, open_s=300.0)
    for reference, error in (("up/org/good", None), ("up/dead", BackendError("down", code="x-y"))):
        guard = made.of(reference)
        guard.end(guard.start(0.0), SystemClock().monotonic(), 0.01, error)
    return made


@pytest.fixture
def keys(sqlite_database: Database) -> KeyRing:
    return KeyRing(sqlite_database)


@pytest.fixture
def served(breakers: Breakers, keys: KeyRing) -> Iterator[Served]:
    server = Served(breakers, keys)
    yield server
    server.stop()


def run(*arguments: str, **environment: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False, env=environment)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_command_line_shows_and_resets(served: Served, breakers: Breakers) -> None:
    shown = run("list", "--url", served.url).splitlines()
    assert [line.split()[:2] for line in shown] == [["up/dead", "open"], ["up/org/good", "closed"]]
    assert "x-y: down" in shown[0]
    listed = json.loads(run("list", "--json", INHOUSE_URL=served.url))
    assert [(one["state"], one["failures"], one["opened"]) for one in listed] == [
        ("open", 1, 1),
        ("closed", 0, 0),
    ]
    assert listed[0]["until"] > listed[0]["opened_at"]
    assert "closed" in run("reset", "up/dead", "--url", served.url)
    assert {view.state for view in breakers.states()} == {BreakerState.CLOSED}
    after = json.loads(run("reset", "up/org/good", "--json", "--url", served.url))
    assert (after["reference"], after["state"]) == ("up/org/good", "closed")


def test_who_may(served: Served, keys: KeyRing, sqlite_database: Database) -> None:
    made = {}
    with sqlite_database.write() as unit:
        for role in (Role.APPLICATION, Role.VIEWER, Role.OPERATOR):
            made[role] = create(unit, role, role, SystemClock().now())[1]
    keys.refresh()
    for denied in ((), ("--key", made[Role.APPLICATION])):
        with pytest.raises(Denied):
            run("list", "--url", served.url, *denied)
    assert run("list", "--url", served.url, INHOUSE_KEY=made[Role.VIEWER])
    with pytest.raises(Denied):
        run("reset", "up/dead", "--url", served.url, "--key", made[Role.VIEWER])
    run("reset", "up/dead", "--url", served.url, "--key", made[Role.OPERATOR])


def test_what_goes_wrong_is_one_line(served: Served) -> None:
    with pytest.raises(NotFound, match="up/never") as unknown:
        run("reset", "up/never", "--url", served.url)
    assert unknown.value.code == "breaker-not-found"
    with pytest.raises(Invalid, match="not an http"):
        run("list", "--url", "localhost")


def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    (tmp_path / "inhouse.toml").write_text(f"[server]\nport = {port}\n")
    set_folder(tmp_path)
    with pytest.raises(InhouseError, match=f"no answer from 127.0.0.1:{port}") as caught:
        run("list")
    assert (caught.value.exit_code, caught.value.code) == (1, "unreachable")
    assert "inhouse serve" in caught.value.hint
