"""inhouse.toml changes under way: no call fails, and what is wrong with it changes nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from inhouse.api.serve import serve_in_thread
from inhouse.bootstrap import bootstrap
from inhouse.client.sync import Client
from inhouse.registry import move
from inhouse.reload import Reloading
from inhouse.settings import Settings, load_settings
from inhouse.testing.upstream_behaviours import answer, status
from inhouse.testing.upstream_server import ScriptedUpstream

RELOADS = 100
CALLERS = 4
PROMPT = "Say good or bad: {{ input }}"


class Project:
    """A project folder, and the server over it."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream) -> None:
        self.folder = folder
        self.upstream = upstream
        self.write()
        self.app = bootstrap(load_settings(folder))
        self.server = serve_in_thread(self.app)

    def write(
        self, *, chain: str = "up/good", labels: str = '["good", "bad"]', more: str = ""
    ) -> None:
        (self.folder / "ask.jinja").write_text(PROMPT)
        (self.folder / "inhouse.toml").write_text(
            f'[upstreams.up]\nbase_url = "{self.upstream.base_url}"\n'
            f"[tasks.mood]\nkind = 'choice'\nlabels = {labels}\n"
            f"prompt = 'ask.jinja'\nchain = ['{chain}']\n{more}"
        )

    def post(self, path: str) -> dict[str, object]:
        request = Request(self.server.url + path, method="POST", data=b"")
        with urlopen(request, timeout=60) as response:
            found: dict[str, object] = json.load(response)
        return found

    def state(self) -> dict[str, object]:
        with urlopen(self.server.url + "/v1/settings", timeout=60) as response:
            found: dict[str, object] = json.load(response)
        return found

    def wait_until(self, condition: Callable[[dict[str, object]], bool]) -> dict[str, object]:
        deadline = time.monotonic() + 30
        while not condition(state := self.state()):
            assert time.monotonic() < deadline, state
        return state


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    script = {"good": "good", "bad": "bad", "slow": answer("good", delay_s=0.5)}
    with ScriptedUpstream(script) as upstream:
        made = Project(tmp_path, upstream)
        yield made
        made.server.stop()


def test_a_changed_file_is_followed_without_being_told(project: Project) -> None:
    before = project.state()
    assert (before["revision"], before["error"]) == (1, "")
    project.write(chain="up/bad")
    project.wait_until(lambda state: state["revision"] == 2)
    with Client(project.server.url) as client:
        assert client.run("mood", "x").output == {"label": "bad"}


def test_a_changed_prompt_is_followed_too(project: Project) -> None:
    revision = project.app.catalog.get("mood").revision
    (project.folder / "ask.jinja").write_text("Judge: {{ input }}")
    project.wait_until(lambda state: state["revision"] == 2)
    assert project.app.catalog.get("mood").revision != revision


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("[tasks.mood.oops]\n", "inhouse.toml:8: tasks.mood.oops: unknown key"),
        ("timeout_s = -1\n", "inhouse.toml:8: tasks.mood.timeout_s"),
        ("[tasks.other]\nkind = 'choice'\n", "inhouse.toml:8: tasks.other: needs kind and prompt"),
        ("= = =\n", "line 8"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line_and_the_old_one_serves(
    project: Project, more: str, said: str
) -> None:
    project.write(more=more)
    state = project.post("/v1/settings/reload")
    assert said in str(state["error"])
    assert state["revision"] == 1
    with Client(project.server.url) as client:
        assert client.run("mood", "x").output == {"label": "good"}
    project.write(chain="up/bad")
    state = project.post("/v1/settings/reload")
    assert (state["error"], state["revision"]) == ("", 2)


def test_a_prompt_that_is_no_text_is_refused_and_its_repair_is_met(project: Project) -> None:
    (project.folder / "ask.jinja").write_bytes("für {{ input }}".encode("latin-1"))
    state = project.wait_until(lambda state: bool(state["error"]))
    assert "ask.jinja" in str(state["error"])
    project.write(chain="up/bad")
    project.wait_until(lambda state: state["revision"] == 2)
    assert project.state()["error"] == ""


def test_a_task_that_was_moved_falls_back_to_the_models_that_are_declared_now(
    project: Project,
) -> None:
    """The revision of its route keeps its incumbent, whose upstream is gone."""
    project.upstream.script = {"old": "good", "good": status(500), "bad": "bad"}
    spec, said = project.app.catalog.get("mood"), {"actor": "ada", "reason": "because"}
    now = project.app.clock.now()
    with project.app.database.write() as unit:
        move.set_weight(unit, spec, candidate="up/old", percent=100, at=now, **said)
        move.promote(unit, spec, candidate="up/old", at=now, **said)
    project.app.routes.refresh()
    with Client(project.server.url) as client:
        assert client.run("mood", "x").model_version == "up/old"
        project.upstream.script = {"good": status(500), "bad": "bad"}
        project.write(chain="up/bad")
        project.post("/v1/settings/reload")
        assert client.run("mood", "x").model_version == "up/bad"
    with urlopen(f"{project.server.url}/v1/routes/mood", timeout=60) as response:
        told = json.load(response)
    assert (told["incumbent"], told["chain"]) == ("up/old", ["up/bad"])
    assert project.upstream.hits["good"] == 0


def test_any_fault_of_reading_is_told_and_reading_goes_on(tmp_path: Path) -> None:
    def fails(folder: Path) -> Settings:
        raise RecursionError("too deep")

    reloading = Reloading(bootstrap(load_settings(tmp_path)), load=fails)
    assert reloading.reload().error == "inhouse.toml cannot be read: RecursionError: too deep"


def test_a_worker_follows_the_file_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inhouse.cli.main", "--dir", str(tmp_path), "worker"]
    (tmp_path / "inhouse.toml").write_text("")
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    worker = subprocess.Popen(command, **out)  # type: ignore[call-overload]
    with worker.stdout:
        assert "worker ready" in worker.stdout.readline()
        worker.send_signal(signal.SIGHUP)
        assert "settings reloaded" in worker.stdout.readline()
        (tmp_path / "inhouse.toml").write_text("oops = 1\n")
        assert "settings refused" in worker.stdout.readline()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(180) == 0


def test_a_file_that_is_gone_leaves_the_settings(project: Project) -> None:
    file = project.folder / "inhouse.toml"
    file.rename(project.folder / "away.toml")
    state = project.wait_until(lambda state: bool(state["error"]))
    assert (state["revision"], state["error"]) == (1, f"{file} is gone")
    with Client(project.server.url) as client:
        assert client.run("mood", "x").output == {"label": "good"}
    (project.folder / "away.toml").rename(file)
    project.wait_until(lambda state: state["error"] == "")


def test_a_file_that_a_refused_one_names_is_watched(project: Project) -> None:
    more = "[tasks.other]\nkind = 'text'\nprompt = 'other.jinja'\nchain = ['up/good']\n"
    project.write(more=more)
    project.wait_until(lambda state: "other.jinja" in str(state["error"]))
    (project.folder / "other.jinja").write_text("{{ input }}")
    project.wait_until(lambda state: (state["revision"], state["error"]) == (2, ""))


def test_what_needs_a_restart_is_said(project: Project) -> None:
    project.write(more="[server]\nport = 9999\n")
    assert project.post("/v1/settings/reload")["needs_restart"] == ["server"]


def test_a_call_under_way_ends_as_it_began(project: Project) -> None:
    project.write(chain="up/slow")
    project.post("/v1/settings/reload")
    answers: list[object] = []

    def call() -> None:
        with Client(project.server.url) as client:
            answers.append(client.run("mood", "x").output)

    caller = threading.Thread(target=call)
    caller.start()
    project.upstream.wait_until(lambda: project.upstream.hits["slow"] == 1)
    project.write(labels='["fine", "poor"]')
    assert project.post("/v1/settings/reload")["error"] == ""
    caller.join()
    assert answers == [{"label": "good"}]


def test_a_hundred_reloads_under_load_fail_no_call(project: Project) -> None:
    stopping = threading.Event()
    answers: list[str] = []
    failures: list[Exception] = []

    def call() -> None:
        with Client(project.server.url) as client:
            while not stopping.is_set():
                try:
                    answers.append(client.run("mood", "x").output["label"])
                except Exception as error:  # noqa: BLE001
                    failures.append(error)
                    return

    callers = [threading.Thread(target=call) for _ in range(CALLERS)]
    for caller in callers:
        caller.start()
    for number in range(RELOADS):
        wanted = "bad" if number % 2 else "good"
        seen = len(answers)
        project.write(chain=f"up/{wanted}", more=f"timeout_s = {number + 30}\n")
        assert project.post("/v1/settings/reload")["error"] == ""
        while len(answers) < seen + 10 and not failures:
            time.sleep(0.001)  # the callers go on
    stopping.set()
    for caller in callers:
        caller.join()
    assert failures == []
    assert len(answers) >= 10 * RELOADS
    assert {"good", "bad"} == set(answers)
