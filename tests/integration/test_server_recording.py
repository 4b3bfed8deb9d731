"""Recording as callers and auditors meet it: durable, redacted, hashed, locked out, out of disk."""

from __future__ import annotations

import http.client
import json
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.core.hashing import digest_of
from inhouse.interactions import commit as commit_module
from inhouse.interactions import record as record_module
from inhouse.settings import load_settings
from inhouse.testing.upstream_behaviours import status
from inhouse.testing.upstream_exchange import Behaviour, Request
from inhouse.testing.upstream_server import ScriptedUpstream

PATIENCE_S = 30.0
MAIL, CARD, OWN = "ann@example.com", "4111 1111 1111 1111", "order-77341"
PERSONAL = f"Write to {MAIL}, paid with {CARD}, {OWN}."
REDACTED = "Write to [email], paid with [card], [order]."
RUN = "/v1/tasks/mood/run"
TALK = "/v1/tasks/talk/run"
CHAT = "/v1/chat/completions"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def id(self) -> str:
        return self.headers["x-inhouse-interaction-id"]


class Caller:
    """One connection to a server."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(
            parts.hostname, parts.port, timeout=PATIENCE_S
        )

    def ask(self, path: str, body: Any = None, **headers: str) -> Answer:
        method, data = ("GET", None) if body is None else ("POST", json.dumps(body))
        self._connection.request(
            method, path, data, {"content-type": "application/json", **headers}
        )
        response = self._connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, found, response.read())

    def run(self, text: str = "Profits doubled.") -> Answer:
        return self.ask(RUN, {"input": text})

    def chat(self, text: str = "Hello", model: str = "up/good", **more: Any) -> Answer:
        messages = [{"role": "user", "content": text}]
        return self.ask(CHAT, {"model": model, "messages": messages, **more})

    def metric(self, series: str) -> float:
        lines = self.ask("/metrics").body.decode().splitlines()
        return next((float(line.split()[-1]) for line in lines if line.startswith(series)), 0.0)

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never comes to that"
            time.sleep(0.02)

    def close(self) -> None:
        self._connection.close()


class Project:
    """A project folder, its database, and the upstream of its tasks."""

    flush: Callable[[], None]
    """Waits until everything is recorded."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream, recording: str) -> None:
        self.folder = folder
        self.upstream = upstream
        self.database = folder / ".inhouse" / "inhouse.db"
        (folder / "inhouse.toml").write_text(
            f"[server]\nworkers = 0\n[recording]\n{recording}\n"
            f'[upstreams.up]\nbase_url = "{upstream.base_url}"\n'
            '[tasks.mood]\nbuiltin = "sentiment"\nkind = "choice"\nchain = ["up/good"]\n'
            '[tasks.talk]\nkind = "text"\nprompt = "Say: {{ input }}"\n'
            'chain = ["up/bad", "up/echo"]\n'
            '[tasks.free]\nkind = "text"\nchain = ["up/echo"]\n'
        )

    def query(self, statement: str, *values: Any) -> list[Any]:
        with closing(sqlite3.connect(self.database)) as connection:
            return connection.execute(statement, values).fetchall()

    def ids(self) -> set[str]:
        return {row[0] for row in self.query("SELECT id FROM interaction")}

    def everything(self) -> str:
        """Whatever the database holds, as SQL, and what its files hold, as they are."""
        with closing(sqlite3.connect(self.database)) as connection:
            dump = "\n".join(connection.iterdump())
        files = (self.database, self.database.with_name(self.database.name + "-wal"))
        raw = (file.read_bytes().decode("latin-1") for file in files if file.exists())
        return "\n".join((dump, *raw))


def echo(request: Request) -> Behaviour | str:
    """Says what it was told; what is called bad says it in an error."""
    told = str(request.messages[-1]["content"]) if request.messages else ""
    return {"good": "positive", "bad": status(500, f"cannot do: {told}")}.get(request.model, told)


Make = Callable[..., tuple[Project, Caller]]


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(echo) as made:
        yield made


@pytest.fixture
def make(tmp_path: Path, upstream: ScriptedUpstream) -> Iterator[Make]:
    stops: list[Callable[[], None]] = []

    def build(recording: str) -> tuple[Project, Caller]:
        project = Project(tmp_path, upstream, recording)
        app = bootstrap(load_settings(tmp_path))
        handle = serve_in_thread(app)
        caller = Caller(handle.url)
        stops.extend((handle.stop, caller.close))
        project.flush = app.recorder.flush
        return project, caller

    yield build
    while stops:
        stops.pop()()


def test_a_durable_row_is_there_when_its_answer_is(make: Make) -> None:
    project, caller = make('durability = "durable"')
    asks = (
        caller.run,
        caller.chat,
        lambda: caller.chat(stream=True),
        lambda: caller.chat(model="task:mood"),
    )
    with closing(sqlite3.connect(project.database)) as connection:
        for number in range(200):
            answer = asks[number % 4]()
            assert answer.status == 200
            found = connection.execute(
                "SELECT status, reference FROM interaction WHERE id = ?", [answer.id]
            )
            assert found.fetchall() == [("answered", "up/good")]
    assert project.query("SELECT sum(requests) FROM spent WHERE upstream = ''") == [(200,)]


RULES = 'redact = ["email", "card"]\nredact_patterns = { order = "order-[0-9]+" }'


def ask_everything(caller: Caller, **tags: str) -> Answer:
    """Personal data by every way in; returns the answer of a task whose first model failed."""
    messages = [{"role": "user", "content": PERSONAL}]
    answer = caller.ask(TALK, {"input": PERSONAL, "tags": tags, "unit": MAIL, "subject": MAIL})
    asked = [
        answer,
        caller.ask(CHAT, {"model": "task:talk", "messages": messages, "user": MAIL}),
        caller.ask(CHAT, {"model": "task:free", "messages": messages, "metadata": tags}),
        caller.ask(CHAT, {"model": "up/echo", "messages": messages, "stream": True}),
        caller.ask("/v1/embeddings", {"model": "up/echo", "input": [PERSONAL]}),
        caller.ask("/v1/tasks/talk/run-batch", {"inputs": [{"input": PERSONAL}]}),
    ]
    assert [one.status for one in asked] == [200] * len(asked)
    assert caller.chat(PERSONAL, model="up/bad").status == 502
    return answer


def test_what_is_stored_is_redacted_and_what_is_sent_is_not(
    make: Make, upstream: ScriptedUpstream
) -> None:
    project, caller = make(RULES)
    answer = ask_everything(caller, note=PERSONAL)
    assert answer.json["output"] == {"text": f"Say: {PERSONAL}"}, "the caller gets what was said"
    sent = [json.dumps(request.body) for request in upstream.requests]
    assert all(PERSONAL in body for body in sent)
    project.flush()
    stored = project.everything()
    assert not [one for one in (MAIL, CARD, OWN) if one in stored]
    (row,) = project.query(
        "SELECT input, output, raw, tags, attempts FROM interaction WHERE id = ?", answer.id
    )
    assert json.loads(row[0]) == REDACTED
    assert json.loads(row[1]) == {"text": f"Say: {REDACTED}"}
    assert json.loads(row[2]) == f"Say: {REDACTED}"
    assert json.loads(row[3]) == {"note": REDACTED}
    assert json.loads(row[4])[0]["message"].endswith(f"cannot do: Say: {REDACTED}")


def test_what_people_say_about_a_call_is_redacted_too(make: Make) -> None:
    project, caller = make(RULES)
    answer = caller.run()
    said = {"interaction_id": answer.id, "kind": "comment", "value": PERSONAL}
    assert caller.ask("/v1/feedback", said).status == 200
    assert json.loads(project.query("SELECT value FROM feedback")[0][0]) == REDACTED
    assert not [one for one in (MAIL, CARD, OWN) if one in project.everything()]


def test_hashes_only_keeps_no_word(make: Make) -> None:
    project, caller = make('content = "hashes"')
    answer = ask_everything(caller)
    project.flush()
    (row,) = project.query("SELECT input, output, raw FROM interaction WHERE id = ?", answer.id)
    assert json.loads(row[0]) == {"sha256": digest_of(PERSONAL)}
    assert json.loads(row[1]) == {"sha256": digest_of(answer.json["output"])}
    assert row[2] is None or json.loads(row[2]) is None
    assert not [one for one in (MAIL, CARD, OWN) if one in project.everything()]


@pytest.mark.parametrize("recording", [RULES, 'content = "hashes"'], ids=["redacted", "hashes"])
def test_an_answer_kept_for_repeats_cannot_be_read_by_others(make: Make, recording: str) -> None:
    project, caller = make(recording)
    again = {"idempotency-key": "once"}
    first, second = (caller.ask(TALK, {"input": PERSONAL}, **again) for _ in range(2))
    assert (first.status, first.json["output"]) == (200, {"text": f"Say: {PERSONAL}"})
    assert (second.status, second.body) == (200, first.body)
    project.flush()
    assert not [one for one in (MAIL, CARD, OWN) if one in project.everything()]


LOCKER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
connection.execute("ROLLBACK")
"""


@contextmanager
def locked(database: Path) -> Iterator[None]:
    """Another process holds the database's one lock for writing."""
    command = [sys.executable, "-c", LOCKER, str(database)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as locker:
        assert locker.stdout is not None
        assert locker.stdout.readline() == "locked\n"
        yield
        locker.communicate()
    assert locker.returncode == 0


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tenths of a second where the product takes seconds."""
    monkeypatch.setattr(record_module, "CONFIRM_S", 0.3)
    monkeypatch.setattr(record_module, "FAILING_S", 0.3)
    monkeypatch.setattr(commit_module, "_BUSY_S", 0.1)
    monkeypatch.setattr(commit_module, "_BUSY_DURABLE_S", 0.1)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("durability", ["durable", "fast"])
def test_locked_out_calls_are_refused_and_later_answered(
    make: Make, upstream: ScriptedUpstream, durability: str
) -> None:
    project, caller = make(f'durability = "{durability}"\non_record_failure = "refuse"')
    answered = [until_answered(caller)]
    project.flush()
    with locked(project.database):
        first = caller.run()
        if durability == "durable":
            assert (first.status, first.json["code"]) == (503, "record-failed")
        else:
            assert first.status == 200
            answered.append(first)
        caller.wait_until(lambda: caller.ask("/readyz").status == 503)
        asked = upstream.hits["good"]
        task, chat, stream = caller.run(), caller.chat(), caller.chat(stream=True)
        assert [one.status for one in (task, chat, stream)] == [503] * 3
        assert task.headers["content-type"] == "application/problem+json"
        assert (task.json["code"], chat.json["error"]["code"]) == ("record-failed",) * 2
        assert all(int(one.headers["retry-after"]) >= 1 for one in (task, chat, stream))
        assert "x-inhouse-interaction-id" not in task.headers
        assert upstream.hits["good"] == asked, "no model is paid for what cannot be recorded"
    caller.wait_until(lambda: caller.ask("/readyz").status == 200)
    answered.append(until_answered(caller))
    assert [one.status for one in answered] == [200] * len(answered)
    project.flush()
    assert {one.id for one in answered} <= project.ids()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("durability", ["durable", "fast"])
def test_locked_out_calls_are_answered_and_later_recorded(make: Make, durability: str) -> None:
    project, caller = make(f'durability = "{durability}"\non_record_failure = "answer"')
    with locked(project.database):
        failed = caller.metric("inhouse_record_failures_total")
        answered = [caller.run(), caller.chat(), caller.chat(stream=True)]
        caller.wait_until(lambda: caller.metric("inhouse_record_failures_total") > failed + 1)
        answered += [caller.run(), caller.chat(stream=True)]
        assert [one.status for one in answered] == [200] * 5
        assert caller.ask("/readyz").status == 200
        assert project.ids() == set()
    project.flush()
    assert project.ids() == {one.id for one in answered}


@contextmanager
def process(folder: Path) -> Iterator[tuple[int, Caller]]:
    """``inhouse serve`` in a process of its own; it is told to leave and ends with 0."""
    command = [sys.executable, "-m", "inhouse.cli.main", "--dir", str(folder), "serve"]
    serving = subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True)
    assert serving.stdout is not None
    with serving.stdout:
        line = serving.stdout.readline()
    assert line.startswith("inhouse http"), line
    caller = Caller(line.split()[1])
    try:
        yield serving.pid, caller
    finally:
        caller.close()
        serving.send_signal(signal.SIGTERM)
        code = serving.wait(PATIENCE_S)
    assert code == 0


@contextmanager
def full_disk(pid: int, database: Path) -> Iterator[None]:
    """No file of the process may grow by more than some pages; then it may again."""
    files = database.parent.glob("inhouse.db*")
    most = max(file.stat().st_size for file in files) + 200_000
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, before[1]))
    yield
    resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize(
    ("durability", "policy"), [("durable", "refuse"), ("fast", "refuse"), ("fast", "answer")]
)
def test_a_full_disk(
    tmp_path: Path, upstream: ScriptedUpstream, durability: str, policy: str
) -> None:
    recording = f'durability = "{durability}"\non_record_failure = "{policy}"'
    project = Project(tmp_path, upstream, recording)
    answered: list[str] = []

    def ask(caller: Caller) -> Answer:
        answer = caller.run("Profits doubled. " * 1000)
        if answer.status == 200:
            answered.append(answer.id)
        return answer

    with process(tmp_path) as (pid, caller):
        with full_disk(pid, project.database):
            if policy == "refuse":
                refused = until_refused(caller, ask)
                assert (refused.status, refused.json["code"]) == (503, "record-failed")
            else:
                caller.wait_until(lambda: ask(caller).status == 200 and failures(caller) > 3)
                assert [ask(caller).status for _ in range(20)] == [200] * 20
            assert failures(caller) > 0
        caller.wait_until(lambda: caller.metric("inhouse_record_queue ") == 0)
        assert [ask(caller).status for _ in range(5)] == [200] * 5
    assert len(answered) > 5
    assert set(answered) <= project.ids()
    assert project.query("PRAGMA integrity_check") == [("ok",)]


def until_answered(caller: Caller) -> Answer:
    """The first answer: an impatient server may refuse calls while its disk is slow."""
    found = [caller.run()]
    while found[-1].status != 200:
        assert (found[-1].status, found[-1].json["code"]) == (503, "record-failed")
        caller.wait_until(lambda: caller.ask("/readyz").status == 200)
        assert len(found) < 100, "it answers nothing"
        found.append(caller.run())
    return found[-1]


def until_refused(caller: Caller, ask: Callable[[Caller], Answer]) -> Answer:
    """The first answer that is none."""
    found = [ask(caller)]

    def is_refused() -> bool:
        found.append(ask(caller))
        return found[-1].status != 200

    caller.wait_until(is_refused)
    return found[-1]


def failures(caller: Caller) -> float:
    return caller.metric("inhouse_record_failures_total")
