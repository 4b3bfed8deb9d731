"""The commands that the documentation shows do what it says, on a project as a reader has it."""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from inhouse.cli.main import app
from inhouse.cli.project import TEMPLATE
from inhouse.client.sync import Client
from inhouse.settings import Settings, load_settings
from inhouse.tasks.catalog import load_catalog
from inhouse.testing.upstream_behaviours import completion, json_body
from inhouse.testing.upstream_exchange import Behaviour, Request
from inhouse.testing.upstream_server import ScriptedUpstream

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
CALL, OPERATE = "how-to/call-the-gateway.md", "how-to/operate-the-gateway.md"
DEPLOY = "how-to/deploy.md"
PRINTED_URL = "http://127.0.0.1:8040"


Inhouse = Callable[..., subprocess.CompletedProcess[str]]


def _blocks(page: str, kind: str) -> list[str]:
    """The fenced blocks of one kind, without the indentation of a list around them."""
    text = (DOCS / page).read_text(encoding="utf-8")
    found = re.findall(rf"^( *)```{kind}\n(.*?)^\1```", text, re.DOTALL | re.MULTILINE)
    return [textwrap.dedent(block) for _, block in found]


def _lines(page: str, program: str) -> list[list[str]]:
    """Every ``$ program ...`` line of a page's console blocks; a backslash continues it."""
    text = "".join(_blocks(page, "console")).replace("\\\n", " ")
    start = f"$ {program}"
    lines = [line for line in text.splitlines() if line.startswith(start)]
    return [shlex.split(line[2:], comments=True) for line in lines]


def _commands(page: str) -> list[list[str]]:
    return _lines(page, "inhouse")


def _model(request: Request) -> Behaviour | str:
    """The model that the pages ask: it knows an urgent message, and the letters of options."""
    if not request.body.get("logprobs"):
        return "now" if "How soon" in json.dumps(request.body.get("messages")) else "Blue."
    body = completion("A")
    top = [{"token": "A", "logprob": math.log(0.9)}, {"token": "B", "logprob": math.log(0.1)}]
    body["choices"][0]["logprobs"] = {"content": [{"token": "A", "top_logprobs": top}]}
    return json_body(body)


@contextmanager
def _served(page: str, folder: Path) -> Iterator[str]:
    """The project that a page declares, its models scripted, and the URL of its server."""
    with ScriptedUpstream(_model) as upstream:
        declared = re.sub(r'"http://localhost:[^"]*"', f'"{upstream.base_url}"', _toml(page))
        (folder / "inhouse.toml").write_text(declared + "[server]\nport = 0\n", encoding="utf-8")
        command = [sys.executable, "-m", "inhouse.cli.main", "serve"]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                yield server.stdout.readline().split()[1]
            finally:
                server.terminate()
        assert server.returncode == 0


def _toml(page: str) -> str:
    return "\n".join(_blocks(page, "toml"))


def test_what_the_tutorial_says_to_doubt_with(tmp_path: Path, inhouse: Inhouse) -> None:
    """On a project like the demo's; the demo's own figures are recomputed by its own test."""
    commands = [c for c in _commands("tutorial/demo.md") if c[1:3] == ["--dir", "inhouse-demo"]]
    commands = [command for command in commands if command[3] != "serve"]
    assert len(commands) >= 4
    assert inhouse(["init", "inhouse-demo"], tmp_path).returncode == 0
    for command in commands:
        done = inhouse(command[1:], tmp_path)
        assert done.returncode == 0, (command, done.stderr)


@pytest.mark.parametrize(
    "page", sorted(p.relative_to(DOCS).as_posix() for p in DOCS.glob("**/*.md"))
)
def test_every_command_shown_exists_with_its_options(page: str) -> None:
    for command in _commands(page):
        arguments = command[1:]
        if arguments[:1] == ["--dir"]:
            arguments = arguments[2:]
        nouns = [word for word in arguments if not word.startswith("-")][:2]
        done = CliRunner().invoke(app, [*nouns, "--help"])
        if done.exit_code:
            done = CliRunner().invoke(app, [*nouns[:1], "--help"])
        assert done.exit_code == 0, (command, done.output)
        for option in (word for word in arguments if word.startswith("--")):
            assert option.partition("=")[0] in done.output, (command, option)


def test_a_task_and_an_upstream_of_one_s_own(tmp_path: Path, inhouse: Inhouse) -> None:
    """The path of the how-to pages: declare an upstream and a task, ask it, correct it."""
    with ScriptedUpstream({"tiny": "urgent"}) as server:
        (tmp_path / "inhouse.toml").write_text(
            f"""
            [upstreams.mine]
            base_url = "{server.base_url}"
            [tasks.urgency]
            kind = "choice"
            labels = ["urgent", "routine"]
            prompt = "Is this message urgent or routine? {{{{ input }}}}"
            chain = ["mine/tiny"]
            """,
            encoding="utf-8",
        )
        asked = inhouse(["task", "run", "urgency", "The server room is on fire."], tmp_path)
        assert asked.returncode == 0, asked.stderr
        assert asked.stdout.startswith("urgent  (mine/tiny")
        listed = inhouse(["interactions", "search", "--json"], tmp_path)
        interaction = re.search(r'"id": "([0-9a-f-]{36})"', listed.stdout)
        assert interaction is not None
        said = ["--kind", "correction", "--value", "routine"]
        told = inhouse(["feedback", "add", interaction[1], *said], tmp_path)
        assert told.returncode == 0, told.stderr
        built = inhouse(["dataset", "build", "urgency", "--json"], tmp_path)
        assert built.returncode == 0, built.stderr
        assert '"content_hash"' in built.stdout


def test_the_python_of_the_page_on_calling(tmp_path: Path) -> None:
    with _served(CALL, tmp_path) as url:
        script = "\n".join(_blocks(CALL, "python")).replace(PRINTED_URL, url)
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with Client(url) as client:
            client.run("urgency", "Is it over?")
    assert "Blue." in done.stdout
    assert "now 1.0" in done.stdout
    assert done.stdout.count("{'label': 'now'}") == 2


def test_the_commands_of_the_page_on_calling(tmp_path: Path, inhouse: Inhouse) -> None:
    (tmp_path / "in.jsonl").write_text('{"input": "Fire!", "id": 7}\n"Lunch?"\n', encoding="utf-8")
    with _served(CALL, tmp_path) as url:
        commands = [one for one in _commands(CALL) if one[1] not in ("serve", "store")]
        assert len(commands) == 3
        for command in commands:
            done = inhouse([word.replace(PRINTED_URL, url) for word in command[1:]], tmp_path)
            assert done.returncode == 0, (command, done.stderr)
        (request,) = _lines(CALL, "curl")
        if shutil.which("curl"):
            words = [word.replace(PRINTED_URL, url) for word in request]
            asked = subprocess.run(words, capture_output=True, check=True)
            assert json.loads(asked.stdout)["output"] == {"label": "now"}
    for name in ("out.jsonl", "served.jsonl"):
        lines = [json.loads(line) for line in (tmp_path / name).read_text("utf-8").splitlines()]
        assert [(line.get("id"), line["output"]["label"]) for line in lines] == [
            (7, "now"),
            (None, "now"),
        ]


def test_the_commands_of_the_page_on_operating(tmp_path: Path, inhouse: Inhouse) -> None:
    commands = [command[1:] for command in _commands(OPERATE)]
    assert len(commands) >= 7
    with _served(OPERATE, tmp_path) as url:
        with Client(url) as client:
            assert client.run("assistant", "Why is the sky blue?").output == {"text": "Blue."}
        made = inhouse(["keys", "create", "--name", "admin", "--role", "admin", "--json"], tmp_path)
        own = json.loads(made.stdout)
        for command in commands:
            words = [own["id"] if word == "KEY_ID" else word for word in command]
            done = inhouse(
                words, tmp_path, os.environ | {"INHOUSE_URL": url, "INHOUSE_KEY": own["key"]}
            )
            assert done.returncode == 0, (command, done.stdout, done.stderr)


@pytest.mark.parametrize(
    "page",
    [
        "runbooks/dead-upstream.md",
        "runbooks/disk-full.md",
        "runbooks/store-corruption.md",
        DEPLOY,
    ],
)
def test_the_commands_for_who_runs_it(page: str, tmp_path: Path, inhouse: Inhouse) -> None:
    commands = [one for one in _commands(page) if one[1:3] != ["store", "publish"]]
    assert commands
    with _served(CALL, tmp_path) as url:
        with Client(url) as client:
            client.run("urgency", "Fire!")
        for command in commands:
            done = inhouse(command[1:], tmp_path, os.environ | {"INHOUSE_URL": url})
            assert done.returncode == 0, (command, done.stdout, done.stderr)


def test_the_commands_of_the_page_on_comparing(tmp_path: Path) -> None:
    page = "how-to/compare-two-models.md"
    (tmp_path / "inhouse.toml").write_text(_toml(page), encoding="utf-8")
    commands = _commands(page)
    assert len(commands) == 5
    for command in commands:
        done = CliRunner().invoke(app, ["--dir", str(tmp_path), *command[1:]])
        assert done.exit_code == 0, (command, done.output)
    assert "the small one is too slow" in done.output


@pytest.mark.parametrize("page", ["how-to/my-own-task.md", "how-to/my-own-upstream.md"])
def test_what_a_page_declares_is_valid(page: str, tmp_path: Path) -> None:
    typed = [line[2:] for line in "".join(_blocks(page, "console")).splitlines() if line[0] == ">"]
    lines = [line for line in typed if line.strip() != "EOF"]
    declared = tomllib.loads("\n".join([*lines, _toml(page)]))
    for name, text in zip(["report.json"], _blocks(page, "json"), strict=False):
        (tmp_path / name).write_text(text, encoding="utf-8")
    catalog = load_catalog(Settings(**declared, folder=tmp_path))
    assert {spec.name for spec in catalog.all()} == declared["tasks"].keys()


def test_what_init_writes_is_valid_with_every_line_switched_on(tmp_path: Path) -> None:
    lines = [re.sub(r"^# (?=\[|\w+ = )", "", line) for line in TEMPLATE.splitlines()]
    declared = tomllib.loads("\n".join(lines))
    assert {"recording", "limits", "breaker", "upstreams", "tasks"} <= declared.keys()
    assert len(load_catalog(Settings(**declared, folder=tmp_path)).all()) == 2


def test_the_systemd_units(tmp_path: Path) -> None:
    started = {"inhouse.service": ["serve"], "inhouse-scrub.service": ["store", "scrub", "--wait"]}
    units = {path.name: path.read_text("utf-8") for path in (ROOT / "deploy").glob("inhouse*.*")}
    assert units.keys() == {*started, "inhouse-scrub.timer"}
    program = "/opt/inhouse/bin/inhouse"
    for name, text in units.items():
        found = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        wanted = [f"{program} --dir /var/lib/inhouse {' '.join(started.get(name, []))}"]
        assert found == (wanted if name in started else [])
        (tmp_path / name).write_text(text.replace(program, sys.executable), encoding="utf-8")
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    command = ["systemd-analyze", "verify", *(str(tmp_path / name) for name in units)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_compose_file(tmp_path: Path) -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    composed = yaml.safe_load(text)
    services = composed["services"]
    ours, worker = services["inhouse"], services["worker"]
    assert [ours.pop("command"), worker.pop("command")] == [["serve"], ["worker"]]
    mounted = [each.split(":") for each in ours["volumes"]]
    assert worker.items() <= ours.items()
    assert [source for source, _ in mounted if source[0] != "."] == ["models"]
    assert {"models", "database"} == composed["volumes"].keys()
    (tmp_path / "inhouse.toml").write_text(_toml(DEPLOY), encoding="utf-8")
    settings = load_settings(tmp_path, _environment(ours))
    assert "@database/" in settings.database.url
    assert settings.server.host == "0.0.0.0"
    assert f"127.0.0.1:8040:{settings.server.port}" in ours["ports"]
    assert f":{settings.server.port}/readyz" in ours["healthcheck"]["test"][-1]
    assert [folder for _, folder in mounted] == ["/project", str(settings.store_path)]
    (model,) = composed["models"].values()
    (task,) = load_catalog(settings).all()
    assert task.chain == (f"{next(iter(settings.upstreams))}/{model['model']}",)


def _environment(service: dict[str, Any]) -> dict[str, str]:
    """What a container gets: its variables, and where Docker Model Runner says it listens."""
    endpoints = [each["endpoint_var"] for each in service["models"].values()]
    address = "http://model-runner.docker.internal/engines/v1/"
    return {**service["environment"], **dict.fromkeys(endpoints, address)}


def test_the_image_of_the_compose_file() -> None:
    text = (ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8")
    file = yaml.safe_load(text)["services"]["inhouse"]["build"]["dockerfile_inline"]
    names = " ".join(re.findall(r"COPY (.*) \S+", file)).split()
    assert names
    assert "WORKDIR /project\n" in file
    assert [name for name in names if not (ROOT / name).exists()] == []
    (extras,) = re.findall(r"/source\[(.*)\]", file)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(extras.split(",")) <= project["optional-dependencies"].keys()
