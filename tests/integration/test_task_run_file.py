"""``task run --file``: every line once and in order, whatever happens to the process."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.cli.asking import Busy, LineInput, Plan
from inhouse.cli.batch import Tally
from inhouse.cli.batch import run as run_lines
from inhouse.cli.lines import Inputs, Line, Results
from inhouse.cli.main import app
from inhouse.core.errors import InhouseError
from inhouse.gateway.keys import Role, create
from inhouse.interactions.search import search
from inhouse.settings import load_settings
from inhouse.testing.upstream_behaviours import answer, hang, in_turn, status
from inhouse.testing.upstream_exchange import Behaviour, Exchange, Request
from inhouse.testing.upstream_server import ScriptedUpstream


class Done(NamedTuple):
    """What a command printed."""

    stdout: str
    stderr: str


INHOUSE = [sys.executable, "-m", "inhouse.cli.main"]


def text_of(request: Request) -> str:
    """The last word of what was asked: the input of these tests."""
    return str(request.messages[-1]["content"]).split()[-1]


class Script:
    """Answers at once, but for the inputs named in ``special``; notes what was asked."""

    def __init__(self) -> None:
        self.special: dict[str, Behaviour | str] = {}
        self.asked: Counter[str] = Counter()

    def __call__(self, request: Request) -> Behaviour | str:
        text = text_of(request)
        self.asked[text] += 1
        return self.special.get(text, "positive")


def test_a_byte_order_mark_belongs_to_no_line(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    for mark in ("", "\ufeff"):
        path.write_text(f'{mark}"one"\n"two"\n', encoding="utf-8")
        inputs = Inputs(path)
        assert [inputs.text(n).strip() for n in range(inputs.count)] == [b'"one"', b'"two"']
        inputs.close()


@pytest.fixture
def script() -> Script:
    return Script()


@pytest.fixture
def upstream(script: Script) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(script) as server:
        yield server


@pytest.fixture
def project(upstream: ScriptedUpstream, tmp_path: Path) -> Path:
    (tmp_path / "inhouse.toml").write_text(
        f"""
[upstreams.local]
base_url = "{upstream.base_url}"
[tasks.tone]
kind = "choice"
labels = ["positive", "negative"]
prompt = "{{{{ input }}}}"
chain = ["local/good"]
"""
    )
    return tmp_path


def test_one_call_goes_by_the_stored_route_and_what_was_used_up(project: Path) -> None:
    with (project / "inhouse.toml").open("a") as file:
        file.write("[limits]\nrequests_per_day = 1\n")
    where = ["--dir", str(project)]
    invoke([*where, "routes", "set", "tone", "--to", "local/other", "--weight", "100"], 0)
    said = json.loads(invoke([*where, "task", "run", "tone", "hello", "--json"], 0).stdout)
    assert (said["model_version"], said["arm"]) == ("local/other", "candidate")
    refused = CliRunner().invoke(app, [*where, "task", "run", "tone", "hello"])
    assert isinstance(refused.exception, InhouseError)
    assert refused.exception.code == "budget-requests"


def write_inputs(project: Path, count: int) -> list[str]:
    texts = [f"text-{number}" for number in range(1, count + 1)]
    lines = (json.dumps({"input": text, "id": text}) for text in texts)
    (project / "in.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return texts


def command(project: Path, *more: str) -> list[str]:
    files = ["--file", str(project / "in.jsonl"), "--out", str(project / "out.jsonl")]
    return [*INHOUSE, "--dir", str(project), "task", "run", "tone", *files, *more]


def run(project: Path, *more: str, code: int = 0) -> Done:
    """The command in this process; the tests that end it from outside start one of its own."""
    return invoke(command(project, *more)[len(INHOUSE) :], code)


def invoke(arguments: list[str], code: int) -> Done:
    result = CliRunner().invoke(app, arguments)
    error, found = "", result.exit_code
    if isinstance(result.exception, InhouseError):
        error, found = str(result.exception) + result.exception.hint, result.exception.exit_code
    assert found == code, result.output + error
    return Done(result.stdout, result.stderr + error)


def outcome(project: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (project / "out.jsonl").read_text().splitlines()]


def test_every_line_has_its_result_in_order(project: Path, script: Script) -> None:
    texts = write_inputs(project, 40)
    with (project / "in.jsonl").open("a") as file:
        file.write('\n"bare"\n{"input": "x", "unit": "u", "tags": {"k": "v"}}')
    script.special = {"text-1": answer("negative", delay_s=0.2)}
    done = run(project, "--json")
    results = outcome(project)
    assert [line["line"] for line in results] == [*range(1, 41), 42, 43]
    assert [line.get("id") for line in results] == [*texts, None, None]
    assert [line["output"]["label"] for line in results] == ["negative"] + ["positive"] * 41
    assert {line["model_version"] for line in results} == {"local/good"}
    summary = json.loads(done.stdout)
    assert (summary["lines"], summary["answered"], summary["failed"]) == (42, 42, 0)
    with bootstrap(load_settings(project)).database.read() as unit:
        recorded = {one.id: one for one in search(unit, task="tone", limit=100)}
    assert {line["interaction_id"] for line in results} == set(recorded)
    assert recorded[results[-1]["interaction_id"]].tags == {"k": "v"}


def test_lines_that_are_no_input_are_named_and_the_rest_goes_on(project: Path) -> None:
    lines = [
        '{"input": "a"}',
        "nope",
        '{"inptu": "b", "id": 7}',
        '""',
        "[1]",
        '"\\ud800"',
        '"last"',
    ]
    (project / "in.jsonl").write_text("\n".join(lines))
    done = run(project, code=1)
    results = outcome(project)
    assert [line["line"] for line in results] == [1, 2, 3, 4, 5, 6, 7]
    assert [line.get("error", {}).get("code") for line in results] == [
        None,
        "not-json",
        "unknown-field",
        "invalid-field",
        "invalid-field",
        "not-json",
        None,
    ]
    assert results[2]["id"] == 7
    assert "unreadable lines (5): 2, 3, 4, 5, 6" in done.stdout
    assert "2 answered, 5 failed" in done.stdout


def test_lines_that_failed_are_asked_again_when_told(project: Path, script: Script) -> None:
    write_inputs(project, 6)
    script.special = {"text-2": status(400), "text-5": status(500)}
    done = run(project, code=1)
    assert "4 answered, 2 failed" in done.stdout
    second, fifth = outcome(project)[1], outcome(project)[4]
    assert (second["error"]["code"], second["error"]["status"]) == ("upstream-status", 400)
    assert (fifth["error"]["code"], fifth["error"]["status"]) == ("no-backend", 503)
    assert fifth["interaction_id"]
    before = script.asked.copy()
    run(project, code=1)
    assert script.asked == before
    script.special = {"text-2": status(400)}
    run(project, "--retry-failed", code=1)
    assert set(script.asked - before) == {"text-2", "text-5"}
    results = outcome(project)
    assert [line["line"] for line in results] == [1, 2, 3, 4, 5, 6]
    assert ["error" in line for line in results] == [False, True, False, False, False, False]
    script.special = {}
    run(project, "--retry-failed")
    assert not any("error" in line for line in outcome(project))


def test_a_run_that_is_killed_goes_on_where_it_was(
    project: Path, script: Script, upstream: ScriptedUpstream
) -> None:
    texts = write_inputs(project, 60)
    stuck = {"text-7", "text-30"}
    script.special = dict.fromkeys(stuck, hang())
    with subprocess.Popen(command(project, "--concurrency", "4")) as first:
        upstream.wait_until(lambda: len(script.asked) == 60, 30)
        first.send_signal(signal.SIGKILL)
    assert first.returncode == -signal.SIGKILL
    upstream.wait_until(lambda: upstream.open_connections == 0)
    assert [line["line"] for line in outcome(project)] == [1, 2, 3, 4, 5, 6]
    script.special = {}
    run(project)
    assert [line["id"] for line in outcome(project)] == texts
    twice = {text for text, times in script.asked.items() if times > 1}
    assert stuck <= twice
    assert len(twice) <= 4
    assert set(script.asked) == set(texts)


def test_half_a_line_is_cut_off_and_asked_again(project: Path, script: Script) -> None:
    texts = write_inputs(project, 5)
    run(project)
    out = project / "out.jsonl"
    out.write_bytes(out.read_bytes()[:-20])
    with (project / "out.jsonl.resume").open("ab") as file:
        file.write(b'{"at":4,"is":{"li')
    run(project)
    assert [line["id"] for line in outcome(project)] == texts
    assert [script.asked[text] for text in texts] == [1, 1, 1, 1, 2]


def test_ctrl_c_lets_calls_finish_and_says_how_to_go_on(
    project: Path, script: Script, upstream: ScriptedUpstream
) -> None:
    texts = write_inputs(project, 50)
    interrupted = threading.Event()

    async def held(exchange: Exchange) -> None:
        await asyncio.to_thread(interrupted.wait, 60)
        await answer("negative")(exchange)

    script.special = dict.fromkeys(texts[10:14], held)
    with subprocess.Popen(
        command(project, "--concurrency", "4"), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        upstream.wait_until(lambda: set(texts[10:14]) <= set(script.asked), 30)
        process.send_signal(signal.SIGINT)
        while "finishing the calls under way" not in process.stderr.readline():
            pass
        interrupted.set()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert "14 of 50 lines are done; the same command goes on from there" in said
    assert [line["id"] for line in outcome(project)] == texts[:14]
    run(project)
    assert [line["id"] for line in outcome(project)] == texts
    assert set(script.asked.values()) == {1}


def test_a_second_ctrl_c_cancels_the_calls(
    project: Path, script: Script, upstream: ScriptedUpstream
) -> None:
    write_inputs(project, 3)
    script.special = {"text-2": hang()}
    with subprocess.Popen(command(project), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        upstream.wait_until(lambda: len(script.asked) == 3, 30)
        process.send_signal(signal.SIGINT)
        while "finishing" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    upstream.wait_until(lambda: upstream.open_connections == 0)
    with bootstrap(load_settings(project)).database.read() as unit:
        found = Counter(one.status for one in search(unit, task="tone"))
    assert found == {"answered": 2, "cancelled": 1}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("input", "belongs to another input file"),
        ("model", "belongs to another model"),
        ("alien", "was not written by this command"),
        ("edited", "was changed: its line 2"),
    ],
)
def test_an_out_file_of_something_else_is_left_alone(
    project: Path, script: Script, change: str, said: str
) -> None:
    write_inputs(project, 3)
    run(project)
    out, more = project / "out.jsonl", []
    match change:
        case "input":
            write_inputs(project, 4)
        case "model":
            more = ["--model", "local/other"]
        case "alien":
            (project / "out.jsonl.resume").unlink()
        case "edited":
            out.write_text("\n".join(out.read_text().splitlines()[::2]) + "\n")
    before = out.read_bytes()
    refused = run(project, *more, code=2)
    assert said in refused.stderr
    assert "--fresh" in refused.stderr
    assert out.read_bytes() == before
    asked = script.asked.total()
    run(project, "--fresh", *more)
    assert len(outcome(project)) == script.asked.total() - asked
    assert len(outcome(project)) >= 3


def test_two_processes_do_not_write_one_file(
    project: Path, script: Script, upstream: ScriptedUpstream
) -> None:
    write_inputs(project, 2)
    script.special = {"text-1": hang()}
    with subprocess.Popen(command(project)) as first:
        upstream.wait_until(lambda: len(script.asked) == 2, 30)
        assert "another process writes" in run(project, code=4).stderr
        first.kill()


def test_a_limit_that_says_when_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text('"soon"\n"tomorrow"\n')
    asked: Counter[str] = Counter()

    async def ask(line: LineInput) -> Line:
        asked[line.input] += 1
        if asked["soon"] == 3 and line.input == "soon":
            return {"output": {"label": "positive"}}
        raise Busy(0.01 if line.input == "soon" else 3600, {"error": {"code": "exhausted"}})

    out = tmp_path / "out.jsonl"
    plan = Plan(
        task="tone",
        file=tmp_path / "in.jsonl",
        out=out,
        model=None,
        concurrency=2,
        fresh=False,
        retry_failed=False,
    )
    inputs = Inputs(plan.file)
    with Results(out, inputs, {}, fresh=False) as results:
        asyncio.run(run_lines(inputs, results, plan, ask, Tally(), lambda _: None))
    inputs.close()
    assert outcome(tmp_path) == [
        {"line": 1, "output": {"label": "positive"}},
        {"line": 2, "error": {"code": "exhausted"}},
    ]
    assert asked == {"soon": 3, "tomorrow": 1}


def test_a_slow_line_holds_back_only_what_is_far_ahead(tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text("".join(f'"{n}"\n' for n in range(1000)))
    began: list[str] = []
    far = asyncio.Event()

    async def ask(line: LineInput) -> Line:
        began.append(line.input)
        if line.input == "0":
            await far.wait()
            return {"ahead": len(began)}
        if line.input == "127":
            asyncio.get_running_loop().call_soon(far.set)
        return {}

    plan = Plan(
        task="tone",
        file=tmp_path / "in.jsonl",
        out=tmp_path / "out.jsonl",
        model=None,
        concurrency=2,
        fresh=False,
        retry_failed=False,
    )
    inputs = Inputs(plan.file)
    with Results(plan.out, inputs, {}, fresh=False) as results:
        asyncio.run(run_lines(inputs, results, plan, ask, Tally(), lambda _: None))
    inputs.close()
    found = outcome(tmp_path)
    assert found[0] == {"line": 1, "ahead": 128}
    assert [line["line"] for line in found] == list(range(1, 1001))


def test_a_running_server_is_asked_with_its_key(project: Path, script: Script) -> None:
    texts = write_inputs(project, 20)
    script.special = {"text-3": status(400, "too long"), "text-9": in_turn(status(503), "negative")}
    wired = bootstrap(load_settings(project))
    with wired.database.write() as unit:
        _, key = create(unit, "batch", Role.APPLICATION, wired.clock.now())
    with serve_in_thread(wired) as server:
        refused = run(project, "--url", server.url, code=1)
        assert "this server wants a key" in refused.stderr
        assert outcome(project) == []
        assert script.asked.total() == 0
        run(project, "--url", server.url, "--key", key, code=1)
        stopped = run(project, "--url", "http://127.0.0.1:1", "--fresh", code=1)
        assert "no answer from 127.0.0.1:1" in stopped.stderr
        run(project, "--url", server.url, "--key", key, code=1)
    results = outcome(project)
    assert [line["id"] for line in results] == texts
    assert ["error" in line for line in results] == [text == "text-3" for text in texts]
    assert results[2]["error"]["status"] == 400


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["tone"], 2, "give a text, or --file and --out"),
        (["tone", "x", "--file", "in.jsonl", "--out", "o"], 2, "give a text"),
        (["tone", "--file", "in.jsonl"], 2, "--file and --out"),
        (["tone", "--file", "missing.jsonl", "--out", "o"], 3, "missing.jsonl does not exist"),
        (["nothing", "--file", "in.jsonl", "--out", "o"], 3, "no task 'nothing'"),
        (["tone", "--file", "in.jsonl", "--out", "no/such/o"], 2, "No such file"),
        (["tone", "--file", "in.jsonl", "--out", "o", "--model", "x"], 1, "x"),
    ],
)
def test_bad_arguments_are_told(
    project: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, said: str
) -> None:
    write_inputs(project, 1)
    monkeypatch.chdir(project)
    assert said in invoke(["--dir", ".", "task", "run", *arguments], code).stderr


def test_a_terminal_shows_a_bar(project: Path) -> None:
    write_inputs(project, 5)
    ours, theirs = pty.openpty()
    with subprocess.Popen(command(project), stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                piece = os.read(ours, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
    os.close(ours)
    assert process.returncode == 0
    assert b"5/5" in shown
    assert b"0 failed" in shown
    assert b"5 answered, 0 failed" in shown
