"""Limits and budgets as callers meet them: over HTTP, at concurrency, after a stop and a kill."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import typer
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.cli.context import set_folder
from inhouse.cli.keys import app as keys_cli
from inhouse.cli.limits import limits as limits_cli
from inhouse.core.clock import Clock
from inhouse.gateway.keys import Role, create, declare_limits
from inhouse.interactions.record import InteractionRecord
from inhouse.interactions.search import search
from inhouse.settings import load_settings
from inhouse.testing.clock import FrozenClock
from inhouse.testing.upstream_behaviours import answer
from inhouse.testing.upstream_exchange import Behaviour, Request
from inhouse.testing.upstream_server import ScriptedUpstream
from inhouse.testing.upstream_streams import stream, stream_hang, stream_then_cut

COST = 0.03
TOKENS = 10
CALLERS = 50
DAY_S = 86_400
PATIENCE_S = 30.0
PROJECT = """
[upstreams.up]
base_url = "{url}"
{upstream}
[upstreams.up.prices.good]
output_per_million = 10000.0
[upstreams.spare]
base_url = "{url}"
[tasks.mood]
builtin = "sentiment"
kind = "choice"
chain = ["up/good"]
[tasks.safe]
builtin = "sentiment"
kind = "choice"
chain = ["up/good", "spare/other"]
[tasks.talk]
kind = "text"
chain = ["up/good", "spare/other"]
"""
Asked = tuple[str, dict[str, Any]]
HELLO = [{"role": "user", "content": "Hello"}]
CHAT: Asked = "/v1/chat/completions", {"model": "up/good", "messages": HELLO}
STREAM: Asked = "/v1/chat/completions", {"model": "up/good", "messages": HELLO, "stream": True}
RUN: Asked = "/v1/tasks/mood/run", {"input": "Profits doubled."}
EMBED: Asked = "/v1/embeddings", {"model": "up/good", "input": "Hello"}
LIMITS = {
    "limit-requests": "requests_per_minute = 2",
    "limit-tokens": "tokens_per_minute = 15",
    "budget-requests": "requests_per_day = 2",
    "budget-tokens": "tokens_per_day = 15",
    "budget-cost": "cost_per_day = 0.05",
}
"""Each lets two calls in, and no third."""


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Caller:
    """One connection to a server."""

    def __init__(self, url: str, key: str | None = None) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
        self._headers = {"content-type": "application/json"}
        if key is not None:
            self._headers["authorization"] = f"Bearer {key}"

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        method = "GET" if body is None else "POST"
        data = None if body is None else json.dumps(body)
        self._connection.request(method, path, data, {**self._headers, **headers})
        response = self._connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def ask_until(self, path: str, body: Any, *, seen: bytes, times: int) -> None:
        """Read an answer until something was in it so many times."""
        self._connection.request("POST", path, json.dumps(body), self._headers)
        response, said = self._connection.getresponse(), b""
        while said.count(seen) < times:
            piece = response.read1()
            assert piece, said
            said += piece
        response.close()

    def close(self) -> None:
        self._connection.close()


class Server:
    """A server over the project folder; ``key`` is shown with every call."""

    def __init__(
        self, folder: Path, clock: Clock | None = None, key_limits: dict[str, Any] | None = None
    ) -> None:
        self.app = bootstrap(load_settings(folder), clock=clock)
        self.key = None if key_limits is None else self.make_key("shop", key_limits)
        self.handle = serve_in_thread(self.app)
        self._callers: list[Caller] = []

    def make_key(self, name: str, limits: dict[str, Any] | None = None) -> str:
        declared = None if limits is None else declare_limits(limits)
        with self.app.database.write() as unit:
            key = create(unit, name, Role.ADMIN, self.app.clock.now(), declared)[1]
        self.app.keys.refresh()
        return key

    def caller(self, key: str | None = None) -> Caller:
        self._callers.append(Caller(self.handle.url, key or self.key))
        return self._callers[-1]

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        with closing(Caller(self.handle.url, self.key)) as caller:
            return caller.ask(path, body, **headers)

    def used(self, limit: str) -> float:
        """What the server says is used up of its one limit of that name."""
        (line,) = [line for line in self.ask("/v1/limits").json if line["limit"] == limit]
        return float(line["used"])

    def metric(self, series: str) -> float:
        lines = self.ask("/metrics").body.decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(series)), 0.0)

    def recorded(self) -> list[InteractionRecord]:
        self.app.recorder.flush()
        with self.app.database.read() as unit:
            return search(unit, limit=1000)

    def burst(self, callers: int, calls: int | None = None) -> list[Answer]:
        """Answers of many callers at once: each asks until it is refused, or so many times."""
        answers: list[Answer] = []

        def work(caller: Caller) -> None:
            while calls is None or len(answers) < calls:
                answers.append(caller.ask(*RUN))
                if answers[-1].status != 200:
                    return

        threads = [threading.Thread(target=work, args=[self.caller()]) for _ in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return answers

    def stop(self) -> None:
        for caller in self._callers:
            caller.close()
        self.handle.stop()


Make = Callable[..., Server]


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(say) as made:
        yield made


def say(request: Request) -> Behaviour | str:
    """Three tokens, streamed or not."""
    if request.streams:
        return stream(["pos", "it", "ive"])
    return "positive" if request.model == "good" else "negative"


@pytest.fixture
def make(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Make]:
    made: list[Server] = []

    def build(
        server: str = "", upstream_limits: str = "", recording: str = "", **options: Any
    ) -> Server:
        write_project(tmp_path, upstream, server, upstream_limits, recording)
        made.append(Server(tmp_path, **options))
        return made[-1]

    yield build
    for server in made:
        server.stop()


def write_project(
    folder: Path, upstream: ScriptedUpstream, server: str, its: str = "", recording: str = ""
) -> None:
    limited = f"[upstreams.up.limits]\n{its}" if its else ""
    (folder / "inhouse.toml").write_text(
        f"[server]\nworkers = 0\n[recording]\n{recording}\n[limits]\n{server}\n"
        + PROJECT.format(url=upstream.base_url, upstream=limited)
    )


def fields(declared: str) -> dict[str, Any]:
    name, _, value = declared.partition(" = ")
    return {name: json.loads(value)}


def statuses(answers: list[Answer]) -> Counter[int]:
    return Counter(one.status for one in answers)


@pytest.mark.parametrize("scope", ["server", "key"])
@pytest.mark.parametrize("code", LIMITS)
def test_what_is_used_up_is_refused_until_retry_after(
    make: Make, clock: FrozenClock, scope: str, code: str
) -> None:
    declared = LIMITS[code]
    if scope == "server":
        server = make(server=declared, clock=clock)
    else:
        server = make(clock=clock, key_limits=fields(declared))
    clock.advance(3600)
    assert [server.ask(*RUN).status, server.ask(*STREAM).status] == [200, 200]
    server.recorded()
    for path, body in (CHAT, STREAM, EMBED):
        refused = server.ask(path, body)
        assert (refused.status, refused.headers["content-type"]) == (429, "application/json")
        error = refused.json["error"]
        assert set(error) == {"message", "type", "code", "param"}
        assert (error["type"], error["code"]) == ("rate_limit_error", code)
        assert "x-inhouse-interaction-id" not in refused.headers
    refused = server.ask(*RUN)
    assert (refused.status, refused.headers["content-type"]) == (429, "application/problem+json")
    assert (refused.json["code"], refused.json["status"]) == (code, 429)
    assert "x-inhouse-interaction-id" not in refused.headers
    wait = int(refused.headers["retry-after"])
    assert wait == (61 if code.startswith("limit-") else DAY_S - 3600)
    assert len(server.recorded()) == 2, "nothing is recorded of calls that are refused"
    clock.advance(wait)
    assert server.ask(*RUN).status == 200


def test_a_key_over_its_limit_leaves_the_others_alone(make: Make) -> None:
    server = make(key_limits={"requests_per_day": 1})
    other = server.caller(server.make_key("desk"))
    assert [server.ask(*RUN).status, server.ask(*RUN).status] == [200, 429]
    assert [other.ask(*RUN).status for _ in range(3)] == [200, 200, 200]


def test_warnings_stand_in_a_header(make: Make) -> None:
    server = make(server="requests_per_day = 4\nwarn_at = 0.75")
    warned = [server.ask(*one).headers.get("x-inhouse-warning") for one in (RUN, CHAT, STREAM, RUN)]
    assert warned[:2] == [None, None]
    assert warned[2:] == [f"this server: {share} % of requests_per_day used" for share in (75, 100)]
    assert server.ask(*RUN).status == 429


def test_over_a_limit_that_only_warns_calls_are_answered(make: Make) -> None:
    server = make(server='cost_per_day = 0.05\nrequests_per_minute = 2\non_limit = "warn"')
    answers = [server.ask(*one) for one in (RUN, CHAT, RUN, STREAM)]
    assert statuses(answers) == {200: 4}
    last = answers[3].headers["x-inhouse-warning"]
    assert "of cost_per_day used" in last
    assert "over requests_per_minute" in last
    assert len(server.recorded()) == 4
    assert server.used("cost_per_day") == pytest.approx(4 * COST)


def test_a_throttled_call_waits_for_the_minute(make: Make, clock: FrozenClock) -> None:
    server = make(server='requests_per_minute = 2\non_limit = "throttle"', clock=clock)
    delayed = server.metric("inhouse_limit_delayed_total")
    assert [server.ask(*RUN).status, server.ask(*CHAT).status] == [200, 200]
    assert server.ask(*RUN).status == 429, "a wait of a minute is nobody's wish"
    clock.advance(60.0)
    assert server.ask(*STREAM).status == 200
    assert server.metric("inhouse_limit_delayed_total") == delayed + 1
    assert len(server.recorded()) == 3


def test_a_throttled_day_is_a_refusal(make: Make) -> None:
    server = make(server='requests_per_day = 1\non_limit = "throttle"')
    assert [server.ask(*RUN).status, server.ask(*RUN).status] == [200, 429]


def test_streams_count_their_tokens_and_their_cost(make: Make) -> None:
    server = make(server="tokens_per_day = 1000\ncost_per_day = 100.0")
    for _ in range(3):
        assert server.ask(*STREAM).status == 200
    server.recorded()
    assert server.used("tokens_per_day") == 3 * TOKENS
    assert server.used("cost_per_day") == pytest.approx(3 * COST)


@pytest.mark.parametrize("ending", ["left", "broken", "untold"])
def test_a_stream_without_token_counts_is_paid_for_by_its_length(
    make: Make, upstream: ScriptedUpstream, ending: str
) -> None:
    """A caller who leaves, an upstream that breaks off or tells no counts: no way past a budget."""
    words = ["word "] * 20
    upstream.script = {
        "left": {"good": stream_hang(words, after=20)},
        "broken": {"good": stream_then_cut(words, after=20)},
        "untold": {"good": stream(words, usage=False)},
    }[ending]
    server = make(server="cost_per_day = 0.15\ntokens_per_day = 1000")
    with closing(Caller(server.handle.url)) as caller:
        caller.ask_until(*STREAM, seen=b"word", times=20)
    deadline = time.monotonic() + PATIENCE_S
    while not (used := server.used("cost_per_day")):
        assert time.monotonic() < deadline, "the stream costs nothing"
    assert used == pytest.approx(20 * COST / 3)
    assert server.used("tokens_per_day") == 20 + 1
    assert server.ask(*RUN).json["code"] == "budget-cost"


def test_the_inputs_of_a_batch_are_let_in_one_by_one(make: Make) -> None:
    server = make(server="requests_per_day = 3")
    inputs = [{"input": f"Text {number}"} for number in range(5)]
    batch = server.ask("/v1/tasks/mood/run-batch", {"inputs": inputs})
    assert batch.status == 200
    codes = [one["error"]["code"] for one in batch.json["results"] if one.get("error")]
    assert codes == ["budget-requests"] * 2
    assert len(server.recorded()) == 3


def test_a_repeat_is_no_call(make: Make) -> None:
    server = make(server="requests_per_day = 1")
    first = server.ask(*RUN, **{"idempotency-key": "one"})
    again = server.ask(*RUN, **{"idempotency-key": "one"})
    assert (again.status, again.body) == (200, first.body)
    assert server.ask(*RUN, **{"idempotency-key": "two"}).status == 429


@pytest.mark.parametrize("limit", ["cost_per_day = 0.05", "requests_per_minute = 2"])
def test_an_upstream_over_its_limit_is_not_asked(
    make: Make, upstream: ScriptedUpstream, limit: str
) -> None:
    server = make(upstream_limits=limit)
    chat = {"model": "task:talk", "messages": HELLO}
    safe: Asked = ("/v1/tasks/safe/run", RUN[1])
    talk: Asked = (CHAT[0], chat)
    streamed: Asked = (CHAT[0], {**chat, "stream": True})
    for asked in (safe, streamed):
        assert server.ask(*asked).headers["x-inhouse-model-version"] == "up/good"
        server.recorded()
    for asked in (safe, talk, streamed):
        rescued = server.ask(*asked)
        assert (rescued.status, rescued.headers["x-inhouse-model-version"]) == (200, "spare/other")
    assert upstream.hits == {"good": 2, "other": 3}
    last = server.recorded()[0]
    assert (last.status, last.rescued) == ("answered", True)
    assert [one["code"] for one in last.attempts or ()] == ["upstream-limit", None]
    states = {one["reference"]: one["state"] for one in server.ask("/v1/breakers").json}
    assert states == {"up/good": "closed", "spare/other": "closed"}


def test_when_no_other_upstream_is_left_the_caller_learns_when_to_come_back(
    make: Make, clock: FrozenClock
) -> None:
    server = make(upstream_limits="requests_per_day = 1", clock=clock)
    assert server.ask(*RUN).status == 200
    direct = server.ask(*CHAT)
    assert (direct.status, direct.json["error"]["code"]) == (429, "upstream-limit")
    task = server.ask(*RUN)
    assert (task.status, task.json["code"]) == (503, "no-backend")
    assert direct.headers["retry-after"] == task.headers["retry-after"] == str(DAY_S)
    clock.advance(DAY_S)
    assert server.ask(*RUN).status == 200


def test_a_cost_budget_holds_against_fifty_callers(make: Make, upstream: ScriptedUpstream) -> None:
    budget = 3.0
    upstream.script = {"good": answer("positive", delay_s=0.05)}
    server = make(server=f"cost_per_day = {budget}")
    answers = server.burst(CALLERS)
    answered = statuses(answers)[200]
    assert statuses(answers) == {200: answered, 429: CALLERS}
    rows = server.recorded()
    spent = sum(row.cost for row in rows)
    assert len(rows) == answered == upstream.hits["good"]
    assert budget <= spent + 1e-9
    assert spent <= budget + CALLERS * COST
    assert server.used("cost_per_day") == pytest.approx(spent)


def test_a_request_budget_is_exact_for_fifty_callers(
    make: Make, upstream: ScriptedUpstream
) -> None:
    server = make(key_limits={"requests_per_day": 120})
    assert statuses(server.burst(CALLERS)) == {200: 120, 429: CALLERS}
    assert len(server.recorded()) == upstream.hits["good"] == 120


def test_budgets_survive_a_stop_and_a_new_server(make: Make) -> None:
    lives = []
    for _ in range(3):
        server = make(server="requests_per_day = 30\ncost_per_day = 100.0")
        lives.append(statuses(server.burst(4, calls=12))[200])
        server.stop()
    assert lives[0] >= 12
    assert sum(lives) == 30
    assert make(server="requests_per_day = 30").ask(*RUN).status == 429


def test_budgets_survive_a_kill(tmp_path: Path, upstream: ScriptedUpstream) -> None:
    """What was answered before the kill is counted: ``durable`` has recorded all of it."""
    write_project(tmp_path, upstream, "requests_per_day = 20", recording='durability = "durable"')
    answered = []
    for calls in (12, 20):
        process, url = start(tmp_path)
        caller = Caller(url)
        found = [caller.ask(*RUN).status for _ in range(calls)]
        answered.append(found.count(200))
        process.send_signal(signal.SIGKILL)
        process.wait()
        caller.close()
    assert answered == [12, 8]


def start(folder: Path, log: int | None = None) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "inhouse.cli.main", "--dir", str(folder), "serve"]
    command += ["--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    assert process.stdout is not None
    with process.stdout:
        line = process.stdout.readline()
    assert line.startswith("inhouse http"), line
    return process, line.split()[1]


def test_a_log_that_cannot_be_written_fails_no_call(
    tmp_path: Path, upstream: ScriptedUpstream
) -> None:
    """The first call that comes near its limit is logged, to somebody who left."""
    write_project(tmp_path, upstream, "requests_per_day = 5")
    process, url = start(tmp_path, subprocess.PIPE)
    assert process.stderr is not None
    process.stderr.close()
    caller = Caller(url)
    assert [caller.ask(*RUN).status for _ in range(6)] == [200] * 5 + [429]
    caller.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def invoke(function: Callable[..., None] | typer.Typer, *arguments: str) -> Any:
    cli = function
    if not isinstance(cli, typer.Typer):
        cli = typer.Typer()
        cli.command()(function)
    done = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_the_server_and_the_command_line_tell_the_same(make: Make, tmp_path: Path) -> None:
    server = make(
        server="cost_per_day = 9.0\ntokens_per_day = 500",
        upstream_limits="requests_per_day = 50",
        key_limits={"requests_per_day": 9, "requests_per_minute": 100},
    )
    for one in (RUN, CHAT, STREAM):
        assert server.ask(*one).status == 200
    server.recorded()
    told = server.ask("/v1/limits").json
    used = {(line["scope"], line["limit"]): line["used"] for line in told}
    assert used == {
        ("server", "tokens_per_day"): 3 * TOKENS,
        ("server", "cost_per_day"): pytest.approx(3 * COST),
        ("upstream", "requests_per_day"): 3,
        ("key", "requests_per_day"): 3,
        ("key", "requests_per_minute"): 3,
    }
    by_minute = {"used": None, "ratio": None}
    expected = [
        {**line, **(by_minute if line["limit"].endswith("minute") else {})} for line in told
    ]
    set_folder(tmp_path)
    shown = invoke(limits_cli)
    for line in (*expected, *shown):
        line["used"] = pytest.approx(line["used"])
        line["ratio"] = pytest.approx(line["ratio"])
    assert [sorted(line.items(), key=str) for line in shown] == [
        sorted(line.items(), key=str) for line in expected
    ]


def test_a_limit_set_by_the_command_line_holds_while_the_server_runs(
    make: Make, tmp_path: Path
) -> None:
    server = make(key_limits={})
    for _ in range(3):
        assert server.ask(*RUN).status == 200
    set_folder(tmp_path)
    (key,) = invoke(keys_cli, "list")
    invoke(keys_cli, "limit", key["id"], "--requests-per-day", "5")
    deadline = time.monotonic() + PATIENCE_S
    while [line["used"] for line in server.ask("/v1/limits").json] != [3]:
        assert time.monotonic() < deadline, "the limit, and what was used up before, never arrives"
    assert [server.ask(*RUN).status for _ in range(3)] == [200, 200, 429]
