"""Dead, hanging and healed backends behind a real server: what callers and operators see."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.cli.breakers import app as cli
from inhouse.cli.context import set_folder
from inhouse.core.clock import Clock
from inhouse.interactions.record import InteractionRecord
from inhouse.interactions.search import search
from inhouse.settings import BreakerSettings, Settings, TaskSettings, UpstreamSettings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.upstream_behaviours import answer, garbage, hang, in_turn, reset, status
from inhouse.testing.upstream_exchange import Behaviour
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import stream, stream_then_cut

MANY = 600
AT_ONCE = 8
FAILURES = 5
OPEN_S = 300.0
HELLO = [{"role": "user", "content": "Hello"}]
TOKENS = ["All ", "is ", "well."]


class Answer(NamedTuple):
    status: int
    model: str
    body: bytes


class Server:
    """A server over tasks with the chain ``up/bad``, ``up/good``, and callers without any client
    library in between."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream, clock: Clock | None) -> None:
        self.upstream = upstream
        chain = ("up/bad", "up/good")
        settings = Settings(
            upstreams={"up": UpstreamSettings(base_url=upstream.base_url)},
            breaker=BreakerSettings(failures=FAILURES, open_s=OPEN_S),
            tasks={
                "talk": TaskSettings(kind="text", chain=chain, timeout_s=20.0),
                "quick": TaskSettings(kind="text", chain=chain, timeout_s=20.0, try_timeout_s=0.5),
            },
            folder=folder,
        )
        self.app = bootstrap(settings, clock=clock)
        self.handle = serve_in_thread(self.app)

    def connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.handle.url)
        assert parts.hostname is not None
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=60)

    def load(self, calls: int, at_once: int, call: Call) -> list[Answer]:
        """The answers to so many calls, ``at_once`` under way at any time."""
        left, answers = iter(range(calls)), []
        lock = threading.Lock()

        def work() -> None:
            connection = self.connect()
            while True:
                with lock:
                    if next(left, None) is None:
                        break
                answers.append(call(connection))
            connection.close()

        threads = [threading.Thread(target=work) for _ in range(at_once)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def one(self, call: Call) -> Answer:
        return self.load(1, 1, call)[0]

    def get(self, path: str) -> bytes:
        connection = self.connect()
        connection.request("GET", path)
        body = connection.getresponse().read()
        connection.close()
        return body

    def breaker(self, reference: str = "up/bad") -> dict[str, Any]:
        found = json.loads(self.get("/v1/breakers"))
        return next(one for one in found if one["reference"] == reference)

    def metric(self, series: str) -> float:
        lines = self.get("/metrics").decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(series)), 0.0)

    def tries(self, reference: str) -> Counter[str | None]:
        """How often a model was tried or left out, by what came of it."""
        return Counter(
            one["code"]
            for row in self.recorded()
            for one in row.attempts
            if one["reference"] == reference
        )

    def recorded(self) -> list[InteractionRecord]:
        self.app.recorder.flush()
        with self.app.database.read() as unit:
            return search(unit, limit=1000)


Call = Callable[[http.client.HTTPConnection], Answer]
Make = Callable[..., Server]


def ask(connection: http.client.HTTPConnection, path: str, **body: Any) -> Answer:
    connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
    response = connection.getresponse()
    model = response.getheader("x-inhouse-model-version") or ""
    return Answer(response.status, model, response.read())


def run(connection: http.client.HTTPConnection, task: str) -> Answer:
    return ask(connection, f"/v1/tasks/{task}/run", input="Hello")


def chat(connection: http.client.HTTPConnection, task: str) -> Answer:
    return ask(connection, "/v1/chat/completions", model=f"task:{task}", messages=HELLO)


def streamed(connection: http.client.HTTPConnection, task: str) -> Answer:
    found = ask(
        connection, "/v1/chat/completions", model=f"task:{task}", messages=HELLO, stream=True
    )
    assert found.body.endswith(b"data: [DONE]\n\n"), found.body
    assert b'"error"' not in found.body
    return found


SURFACES = {"run": run, "chat": chat, "stream": streamed}


@pytest.fixture(params=SURFACES)
def surface(request: pytest.FixtureRequest) -> Callable[[http.client.HTTPConnection, str], Answer]:
    return SURFACES[request.param]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Server] = []

    def build(script: dict[str, Behaviour | str], clock: Clock | None = None) -> Server:
        made.append(Server(tmp_path, ScriptedUpstream(script).start(), clock))
        return made[-1]

    yield build
    for server in made:
        server.handle.stop()
        server.upstream.stop()


def on(task: str, surface: Callable[[http.client.HTTPConnection, str], Answer]) -> Call:
    return lambda connection: surface(connection, task)


def told(answers: list[Answer]) -> Counter[tuple[int, str]]:
    return Counter((one.status, one.model) for one in answers)


@pytest.mark.parametrize("dead", [status(500), reset(), garbage()], ids=["500", "reset", "garbage"])
def test_a_dead_primary_costs_no_caller_anything(
    make: Make, surface: Callable[..., Answer], dead: Behaviour
) -> None:
    server = make({"bad": dead, "good": "All is well."})
    before = server.metric('inhouse_breaker_opened_total{reference="up/bad"}')
    answers = server.load(MANY, AT_ONCE, on("talk", surface))
    assert told(answers) == {(200, "up/good"): MANY}
    tries = server.tries("up/bad")
    assert tries.total() - tries["breaker-silent"] - tries["breaker-open"] == FAILURES
    # Cut off on a connection that was kept, the pool sends a request once more: still one try.
    assert FAILURES <= server.upstream.hits["bad"] <= 2 * FAILURES
    assert Counter((row.status, row.rescued) for row in server.recorded()) == {
        ("answered", True): MANY
    }
    seen = server.breaker()
    assert (seen["state"], seen["failures"], seen["opened"]) == ("open", FAILURES, 1)
    assert seen["until"] > seen["opened_at"]
    assert seen["error_code"]
    assert server.metric('inhouse_breaker_state{reference="up/bad"}') == 2
    assert server.metric('inhouse_breaker_state{reference="up/good"}') == 0
    assert server.metric('inhouse_breaker_opened_total{reference="up/bad"}') == before + 1


def test_a_hanging_primary_costs_five_callers_one_time_out_each(
    make: Make, surface: Callable[..., Answer]
) -> None:
    server = make({"bad": hang(), "good": "All is well."})
    answers = server.load(MANY // 3, 16, on("quick", surface))
    assert told(answers) == {(200, "up/good"): MANY // 3}
    assert server.upstream.hits["bad"] <= FAILURES
    codes = server.tries("up/bad")
    assert codes["timeout"] == FAILURES
    assert set(codes) <= {"timeout", "breaker-silent", "breaker-open"}
    assert server.breaker()["state"] == "open"


def test_a_primary_that_dies_under_load(make: Make, surface: Callable[..., Answer]) -> None:
    dying = in_turn(*[stream(TOKENS) if surface is streamed else answer("alive")] * 50, status(500))
    server = make({"bad": dying, "good": "All is well."})
    assert told(server.load(50, 1, on("talk", surface))) == {(200, "up/bad"): 50}
    answers = server.load(MANY // 3, AT_ONCE, on("talk", surface))
    assert told(answers) == {(200, "up/good"): MANY // 3}
    assert server.upstream.hits["bad"] <= 50 + FAILURES + AT_ONCE


def test_exactly_one_of_many_callers_probes(
    make: Make, surface: Callable[..., Answer], clock: FrozenClock
) -> None:
    server = make({"bad": status(500), "good": "All is well."}, clock)
    server.load(10, 1, on("talk", surface))
    assert server.upstream.hits["bad"] == FAILURES
    for probes in (1, 2):
        clock.advance(OPEN_S * 1.2)
        assert server.breaker()["state"] == "half-open"
        answers = server.load(100, 20, on("talk", surface))
        assert told(answers) == {(200, "up/good"): 100}
        assert server.upstream.hits["bad"] == FAILURES + probes
    clock.advance(OPEN_S * 1.2)
    server.upstream.script = {"bad": "healed", "good": "All is well."}
    assert server.one(on("talk", surface)).model == "up/bad"
    assert server.breaker()["state"] == "closed"
    assert server.metric('inhouse_breaker_state{reference="up/bad"}') == 0


def test_streams_that_break_off_open_the_breaker_for_all_calls(make: Make) -> None:
    server = make({"bad": stream_then_cut(TOKENS, after=2), "good": "All is well."})
    body = {"model": "task:talk", "messages": HELLO, "stream": True}
    for _ in range(FAILURES):
        broken = server.one(lambda connection: ask(connection, "/v1/chat/completions", **body))
        assert b'"error"' in broken.body
    assert server.breaker()["state"] == "open"
    assert server.one(on("talk", run)).model == "up/good"
    assert server.upstream.hits["bad"] == FAILURES


def test_one_model_that_is_left_alone_is_said_so(make: Make, clock: FrozenClock) -> None:
    server = make({"bad": status(500)}, clock)
    body = {"model": "up/bad", "messages": HELLO}
    found = server.load(FAILURES + 1, 1, lambda one: ask(one, "/v1/chat/completions", **body))
    assert [one.status for one in found] == [502] * FAILURES + [503]
    assert json.loads(found[-1].body)["error"]["code"] == "breaker-open"
    assert server.upstream.hits["bad"] == FAILURES


def test_the_command_line_shows_and_closes_them(make: Make, tmp_path: Path) -> None:
    set_folder(tmp_path)
    server = make({"bad": status(500), "good": "All is well."})
    server.load(10, 1, on("talk", run))
    listed = json.loads(command("list", "--url", server.handle.url, "--json"))
    assert listed == json.loads(server.get("/v1/breakers"))
    assert "up/bad" in command("list", "--url", server.handle.url)
    server.upstream.script = {"bad": "healed", "good": "All is well."}
    assert server.one(on("talk", run)).model == "up/good"
    closed = json.loads(command("reset", "up/bad", "--url", server.handle.url, "--json"))
    assert (closed["state"], closed["failures"]) == ("closed", 0)
    assert server.one(on("talk", run)).model == "up/bad"


def command(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout
